"""The report's words in English and Chinese."""

from __future__ import annotations

from iimedgpt.types import Language

WORDS: dict[str, tuple[str, str]] = {
    # headings
    "report": ("Report of a run", "运行报告"),
    "result": ("What each step gained", "各步骤的收益"),
    "pipeline": ("From record to model", "从病历到模型"),
    "data": ("The instruction set", "指令集"),
    "training": ("Training", "训练"),
    "comparison": ("Answers side by side", "回答对比"),
    "ablation": ("Task by task", "逐任务结果"),
    "method": ("Method and limits", "方法与局限"),
    "provenance": ("Where the numbers come from", "数据溯源"),
    # banners
    "synthetic": (
        "Synthetic records: this shows the machinery, not medicine.",
        "合成病历：本报告展示的是流程，而非医学结论。",
    ),
    "partly_synthetic": (
        "Some of the records are synthetic: mixed numbers show the machinery, not medicine.",
        "部分病历为合成：混合结果展示的是流程，而非医学结论。",
    ),
    "caveats": ("Read with the sources' caveats", "请结合数据来源说明阅读"),
    "not_device": (
        "Not a medical device. Nothing here is medical advice; no model of this run may be used on patients.",
        "非医疗器械。本报告不构成医疗建议，本次运行的模型不得用于患者。",
    ),
    # captions
    "fig_pipeline": (
        "A record is a trunk; each task branches off at one point of its timeline and sees only what was known there.",
        "病历是主干；每个任务在时间线的一点分出，只能看到当时已知的内容。",
    ),
    "fig_distribution": (
        "Conversations per task, by source and by split.",
        "各任务的对话数，按来源与划分。",
    ),
    "fig_example": (
        "An instruction pair: the first synthetic training record's prompt and answer.",
        "指令对示例：首条合成训练病历的提示与回答。",
    ),
    "fig_template": (
        "The shape of an instruction pair. Text of real records is never shown.",
        "指令对的结构。真实病历的文本不予展示。",
    ),
    "fig_curves": (
        "Training curves: SFT loss with validation points; DPO loss, margin and accuracy.",
        "训练曲线：SFT 损失与验证点；DPO 损失、间隔与准确率。",
    ),
    "fig_verdicts": (
        "Win, tie and loss of the first model on held-out prompts; answers are compared in both orders.",
        "首个模型在留出提示上的胜、平、负；两种顺序均作比较。",
    ),
    "fig_ablation": (
        "Base, SFT and SFT+DPO by task with 95 % intervals; the best control and chance are what has to be "
        "beaten. Loss in nats per token.",
        "各任务上的基座、SFT 与 SFT+DPO，附 95 % 区间；需超过最佳对照与随机水平。损失单位为奈特/词元。",
    ),
    # tables
    "tab_main": ("Base, SFT and SFT+DPO on held-out patients", "留出患者上的基座、SFT 与 SFT+DPO"),
    "tab_sources": ("Sources of the records", "病历来源"),
    "tab_counts": ("Conversations per task and source", "各任务与来源的对话数"),
    "tab_stages": ("What went in and what was dropped", "各阶段的输入与剔除"),
    "tab_unsupported": (
        "Facts that the visible record does not hold",
        "可见病历中没有依据的内容",
    ),
    "tab_pairs": ("Preference pairs by origin and named error", "偏好对：来源与错误类型"),
    "tab_errors": ("Held-out preference accuracy by named error", "各类错误上的留出偏好准确率"),
    "tab_verdicts": ("Verdicts", "判定"),
    "tab_all_controls": ("Every control by task", "各任务上的全部对照"),
    "note_all_controls": (
        "(n): items behind a value. Controls that ask the model in other ways are scored on fewer items.",
        "（n）：数值所依据的条目数。以其他方式询问模型的对照所用条目较少。",
    ),
    "tab_tasks": ("Base, SFT and SFT+DPO by task", "各任务上的基座、SFT 与 SFT+DPO"),
    "tab_controls": ("Against the best control", "与最佳对照比较"),
    "tab_subsets": ("Parts of the test set", "测试集的子集"),
    "tab_templates": ("Templates", "模板"),
    "tab_settings": ("Settings", "设置"),
    "tab_manifests": ("Manifests", "清单"),
    "rivals": (
        "Against other models",
        "与其他模型比较",
    ),
    "fig_rivals": (
        "Win, tie and loss of our model against each other model, by question set and judge; both orders asked, "
        "INVALID apart.",
        "本模型对其他各模型的胜、平、负，按题集与评判；两种顺序均询问，无效单列。",
    ),
    "tab_rivals": (
        "Verdicts against other models",
        "与其他模型的判定",
    ),
    "note_rivals": (
        "Win rate: (W + T/2) / valid, 95 % interval over questions; at equal length: the same, controlled for length. "
        "⚑ marks a judge whose verdicts alone make it doubtful.",
        "胜率：(胜 + 平/2) / 有效，95 % 区间按题目重抽；等长胜率已控制长度。⚑ 表示仅凭其判定即可疑的评判。",
    ),
    "tab_ratings": (
        "Strength (Bradley-Terry, log odds, mean 0)",
        "实力（Bradley-Terry，对数几率，均值为 0）",
    ),
    "set": (
        "Question set",
        "题集",
    ),
    "win_rate": (
        "Win rate",
        "胜率",
    ),
    "lc_win_rate": (
        "At equal length",
        "等长胜率",
    ),
    "sign_p": (
        "p (sign test)",
        "p（符号检验）",
    ),
    "chars": (
        "Characters, ours / theirs",
        "字数（本方 / 对方）",
    ),
    "strength": (
        "Strength",
        "实力",
    ),
    "model": (
        "Model",
        "模型",
    ),
    "exams": ("Exams and probes", "考试与测试"),
    "asked": ("Set · judge · criterion", "题集 · 评判 · 标准"),
    # columns and small words
    "measure": ("Measure", "指标"),
    "better": ("Better", "更优"),
    "lower": ("lower", "低"),
    "higher": ("higher", "高"),
    "task": ("Task", "任务"),
    "source": ("Source", "来源"),
    "records": ("Records", "病历"),
    "patients": ("Patients", "患者"),
    "language": ("Language", "语言"),
    "license": ("Licence", "许可"),
    "kind": ("Kind", "类型"),
    "is_synthetic": ("synthetic", "合成"),
    "is_real": ("not synthetic", "非合成"),
    "caveat": ("Caveats", "说明"),
    "train": ("Train", "训练"),
    "validation": ("Validation", "验证"),
    "test": ("Test", "测试"),
    "total": ("Total", "合计"),
    "all_tasks": ("all tasks", "全部任务"),
    "stage": ("Stage", "阶段"),
    "n_in": ("In", "输入"),
    "n_kept": ("Kept", "保留"),
    "n_dropped": ("Dropped", "剔除"),
    "reasons": ("Reasons", "原因"),
    "references": ("Reference answers", "参考答案"),
    "share": ("with such a fact", "含无依据内容"),
    "origin": ("Origin", "来源"),
    "error": ("Named error", "错误类型"),
    "models": ("Models", "模型"),
    "vs": ("vs", "对"),
    "judge": ("Judge", "评判"),
    "criterion": ("Criterion", "标准"),
    "win": ("Win", "胜"),
    "tie": ("Tie", "平"),
    "loss_verdict": ("Loss", "负"),
    "consistent": ("Both orders agree", "两序一致"),
    "reference": ("Reference", "参考"),
    "invalid": ("Invalid", "无效"),
    "part": ("Part", "子集"),
    "control": ("Best control", "最佳对照"),
    "value": ("Value", "数值"),
    "difference": ("SFT+DPO − control", "SFT+DPO − 对照"),
    "chance": ("chance", "随机"),
    "template": ("Template", "模板"),
    "prompt_chars": ("Prompt, median characters", "提示字符数中位数"),
    "response_chars": ("Answer, median characters", "回答字符数中位数"),
    "setting": ("Setting", "设置"),
    "key": ("Key", "键"),
    "config": ("Configuration", "配置"),
    "commit": ("Commit", "提交"),
    "device": ("Device", "设备"),
    "from": ("from", "出自"),
    "figure": ("Figure", "图"),
    "table": ("Table", "表"),
    "not_there": ("Not available: the file behind it holds no rows.", "暂无：对应文件没有数据。"),
    "system": ("System", "系统"),
    "user": ("Prompt", "提示"),
    "assistant": ("Reference answer", "参考答案"),
    "other": ("other data", "其他数据"),
    "shape_system": ("one system prompt for all tasks", "所有任务共用的系统提示"),
    "shape_section": ("section", "项目"),
    "shape_events": ("what was known by then, in time order", "当时已知内容，按时间顺序"),
    "shape_instruction": ("the task's instruction, one of the templates below", "任务指令，取自下列模板"),
    "shape_answer": ("what the record says on the task", "病历中该任务的内容"),
    "step": ("step", "步"),
    "steps": ("steps", "步"),
    "interval_note": (
        "Loss in nats per token. In brackets: 95 % interval, patients resampled; n counts the items "
        "behind the last model's value.",
        "损失单位为奈特/词元。方括号内为 95 % 区间（按患者重采样）；n 为末列数值所依据的条目数。",
    ),
    # limits that always hold
    "limit_synthetic": (
        "Synthetic records are far more regular than real ones: numbers on them say that the chain works, "
        "not how it does on patients.",
        "合成病历远比真实病历规整：其数值只说明流程可用，不代表在患者身上的表现。",
    ),
    "limit_interval": (
        "Intervals are 95 % bootstrap intervals that resample patients; they hold for patients like these, "
        "and for this one training run with this seed.",
        "区间为按患者重采样的 95 % 自助区间，仅适用于类似患者及本次训练与种子。",
    ),
    "limit_overlap": (
        "The opening sentence calls a change clear only where the interval of the paired difference excludes "
        "zero, or, where no difference was measured, where the two intervals do not overlap.",
        "首句仅在配对差异的区间不含零时称变化明确；未测差异时，以两个区间不重叠为准。",
    ),
    "limit_judge": (
        "A judge that compares with the reference answer rewards closeness to it, not clinical worth; "
        "preference pairs made by rules test only the errors that the rules name.",
        "以参考答案评判奖励的是接近程度而非临床价值；规则生成的偏好对只检验规则所列的错误。",
    ),
    "limit_clinical": (
        "No clinician has judged the answers unless a judge named above says so.",
        "除非上文评判者注明，回答未经临床医生评审。",
    ),
    # pipeline
    "timeline": ("Record timeline", "病历时间线"),
    "never_shown": ("outcome:\nnever shown", "结局：\n不展示"),
    "at_complaint": ("complaint", "主诉"),
    "at_dialogue": ("dialogue", "医患对话"),
    "at_examination": ("history,\nexamination", "病史、\n查体"),
    "at_results": ("test results", "检查结果"),
    "at_diagnosis": ("diagnosis", "诊断"),
    "at_record": ("record", "病历"),
    "mixture": ("Mixture", "混合"),
    "conversations": ("conversations", "条对话"),
    "answers": ("answers", "条回答"),
    "pairs": ("Preferences", "偏好"),
    "n_pairs": ("pairs", "对"),
    "n_test": ("held out", "留出"),
    "evaluation": ("Evaluation", "评估"),
    "n_patients": ("patients", "名患者"),
    "n_records": ("records", "份病历"),
    # curves
    "sft_loss": ("SFT loss", "SFT 损失"),
    "validation_loss": ("validation", "验证"),
    "dpo_loss": ("DPO loss", "DPO 损失"),
    "dpo_margin": ("DPO margin", "DPO 间隔"),
    "dpo_accuracy": ("DPO accuracy", "DPO 准确率"),
    # metrics
    "loss": ("Held-out loss", "留出损失"),
    "choice_accuracy": ("Choice accuracy", "选择准确率"),
    "choice_accuracy_wrong_record": ("Choice accuracy, wrong record", "选择准确率（错配病历）"),
    "choice_accuracy_minus_wrong_record": ("Choice accuracy, right − wrong record", "选择准确率：正确 − 错配病历"),
    "choice_accuracy_minus_best_control": ("Choice accuracy − best control", "选择准确率 − 最佳对照"),
    "preference_accuracy": ("Preference accuracy", "偏好准确率"),
    "implicit_reward_accuracy": ("Implicit reward accuracy", "隐式奖励准确率"),
    "preference_accuracy_per_token": ("Preference accuracy, per token", "偏好准确率（按词元）"),
    "task_score": ("Task score of free answers", "自由回答任务得分"),
    "task_score_wrong_record": ("Task score, wrong record", "任务得分（错配病历）"),
    "task_score_minus_best_control": ("Task score − best control", "任务得分 − 最佳对照"),
    "repetition_rate": ("Repetition in free answers", "自由回答重复率"),
    "finished_share": ("Free answers that end by themselves", "自行结束的自由回答"),
    "answer_chars": ("Length of free answers, characters", "自由回答长度（字符）"),
    "rouge_l": ("ROUGE-L of free answers", "自由回答 ROUGE-L"),
    "unsupported_rate": ("Unsupported rate of free answers", "自由回答无依据率"),
    # tasks
    "task_triage": ("triage", "导诊分科"),
    "task_record": ("record", "病历生成"),
    "task_examination": ("examination", "检查建议"),
    "task_diagnosis": ("diagnosis", "诊断"),
    "task_basis": ("basis", "依据与鉴别"),
    "task_treatment": ("treatment", "治疗方案"),
}
MODEL_NAMES = {"base": ("Base", "基座"), "sft": ("SFT", "SFT"), "sft+dpo": ("SFT+DPO", "SFT+DPO")}


class Words:
    """The words of one language; an unknown key stands for itself."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self._place = 0 if language == "en" else 1

    def __call__(self, key: str) -> str:
        return WORDS[key][self._place] if key in WORDS else key

    def task(self, task: str) -> str:
        """A task's name; tasks of one's own keep theirs."""
        if task == "other":
            return self("other")
        return self(f"task_{task}") if f"task_{task}" in WORDS else task

    def model(self, model: str) -> str:
        """A model's name, controls without their prefix."""
        return MODEL_NAMES[model][self._place] if model in MODEL_NAMES else model.removeprefix("control:")
