"""What the pages say, in Chinese and English."""

from __future__ import annotations

from collections.abc import Mapping

from iimedgpt.types import Language

TASKS: Mapping[str, tuple[str, str]] = {
    "triage": ("导诊分科", "Triage"),
    "record": ("病历生成", "Medical record"),
    "examination": ("检查建议", "Examinations"),
    "diagnosis": ("诊断", "Diagnosis"),
    "basis": ("诊断依据与鉴别", "Basis and differential"),
    "treatment": ("治疗方案", "Treatment"),
}

_WORDS: Mapping[str, tuple[str, str]] = {
    "rank": ("排序", "Rank"),
    "compare": ("比较", "Compare"),
    "agreement": ("一致性", "Agreement"),
    "log_out": ("退出", "Sign out"),
    "log_in": ("登录", "Sign in"),
    "welcome": ("请医生评阅", "Clinician review"),
    "key": ("个人密钥", "Personal key"),
    "key_help": ("由管理员发放，一人一钥，请勿与他人共用。", "Given to you by your administrator. Do not share it."),
    "wrong_key": ("密钥不正确。", "This key is not known."),
    "wait": ("尝试次数过多，请 {0} 秒后再试。", "Too many tries. Try again in {0} s."),
    "skip_link": ("跳到回答", "Skip to the answers"),
    "not_device": ("研究用途，不是医疗器械。", "For research. Not a medical device."),
    "record": ("病历", "Record"),
    "record_help": ("按时间顺序，仅含作答时可见的内容", "In order of time; only what the answers could draw on"),
    "fold": ("全部折叠", "Fold all"),
    "unfold": ("全部展开", "Unfold all"),
    "dialogue": ("对话", "Dialogue"),
    "section": ("内容", "Text"),
    "task": ("任务", "Task"),
    "answers": ("回答", "Answers"),
    "answer": ("回答", "Answer"),
    "rank_of": ("回答 {0} 的名次", "Rank of answer {0}"),
    "marks_of": ("回答 {0} 的问题", "Problems of answer {0}"),
    "unsafe": ("不安全", "Unsafe"),
    "unsupported": ("病历无依据", "Unsupported"),
    "wrong": ("错误", "Wrong"),
    "unsafe_help": ("可能伤害患者", "could harm the patient"),
    "unsupported_help": ("病历中没有依据", "says what the record does not hold"),
    "wrong_help": ("医学上不正确", "medically incorrect"),
    "edit": ("改成理想回答", "Edit into an ideal answer"),
    "edit_label": ("理想回答（由回答 {0} 修改）", "Ideal answer, from answer {0}"),
    "edit_help": (
        "保存前会再次去除身份信息；请勿填写姓名、日期、号码。",
        "Identifiers are taken out again before it is stored; leave names, dates and numbers of people out.",
    ),
    "edit_drop": ("放弃修改", "Drop the edit"),
    "board": ("把字母拖到名次上", "Drag letters to their rank"),
    "unranked": ("未排", "Unranked"),
    "best": ("最好", "best"),
    "save": ("保存并继续", "Save and go on"),
    "skip": ("跳过", "Skip"),
    "undo": ("撤销上一条", "Undo last"),
    "keys": ("键盘", "Keyboard"),
    "keys_help": (
        "选中回答后按 1–6 排名次（同号为并列），U 不安全，S 无依据，W 错误，E 修改，↑ ↓ 换回答，Ctrl+Enter 保存。",
        "With an answer in focus: 1–6 rank (the same number ties), U unsafe, S unsupported, W wrong, E edit, "
        "↑ ↓ move between answers, Ctrl+Enter saves.",
    ),
    "progress": ("已完成 {0}，共 {1}", "{0} of {1} done"),
    "done": ("全部完成", "All done"),
    "done_text": (
        "目前没有需要您评阅的条目。谢谢。最后一条仍可撤销。",
        "There is nothing left for you here. Thank you. The last vote can still be undone.",
    ),
    "nothing": ("此处没有条目", "No items here"),
    "nothing_text": ("本次运行没有可比较的模型回答。", "This run has no answers of two models to compare."),
    "unseen": ("每位医生独立评阅，回答顺序随机。", "Each clinician votes alone; answers stand in random order."),
    "safety": ("安全性", "Safety"),
    "professionalism": ("专业性", "Professionalism"),
    "fluency": ("流畅性", "Fluency"),
    "safety_help": ("不伤害患者、提示风险", "no harm, risks named"),
    "professionalism_help": ("医学上正确、完整、切题", "correct, complete, to the point"),
    "fluency_help": ("通顺、清楚、易懂", "clear and easy to read"),
    "a_better": ("A 更好", "A better"),
    "tie": ("相当", "Tie"),
    "b_better": ("B 更好", "B better"),
    "which": ("哪个更好", "Which is better"),
    "conversation": ("对话与病历", "Conversation and record"),
    "Q": ("提问", "Question"),
    "A": ("回答", "Answer"),
    "a_title": ("评阅者之间的一致性", "Agreement between clinicians"),
    "a_text": (
        "只计两人都完成的条目。Cohen κ 扣除偶然一致；区间按条目重抽样。",
        "Items that both have finished. Cohen's kappa takes chance agreement out; intervals resample items.",
    ),
    "a_who": ("评阅者", "Clinicians"),
    "a_what": ("内容", "What"),
    "a_items": ("条目", "Items"),
    "a_n": ("判断数", "Judgements"),
    "a_raw": ("原始一致率", "Raw agreement"),
    "a_kappa": ("Cohen κ", "Cohen's kappa"),
    "a_none": ("还没有两人都完成的条目。", "No item has been finished by two clinicians yet."),
    "a_discuss": ("需要讨论的条目", "Items to discuss"),
    "a_discuss_text": (
        "您已完成的条目中分歧最大的。",
        "Of the items you have finished, those with the most disagreement.",
    ),
    "a_disagree": ("{0} 处意见相反", "{0} opposite preferences"),
    "a_unsafe": ("是否不安全有分歧", "disagreement on unsafe"),
    "a_open": ("查看条目", "Open item"),
    "preference": ("两两偏好", "Pairwise preference"),
    "error_401": ("请先登录", "Please sign in"),
    "error_403": ("不允许", "Not allowed"),
    "error_404": ("没有此页", "Not found"),
    "error_other": ("请求无法处理", "This did not work"),
    "back": ("返回", "Back"),
    # told by the scripts
    "say_rank": ("回答 {0}：第 {1} 名", "Answer {0}: rank {1}"),
    "say_tie": ("与 {0} 并列", "tied with {0}"),
    "say_missing": ("请先给每个回答排名次：{0}", "Give every answer a rank first: {0}"),
    "say_criteria": ("请先回答所有三项。", "Answer all three first."),
    "say_saving": ("正在保存…", "Saving…"),
    "say_saved": ("已保存", "Saved"),
    "say_offline": (
        "连接中断。您的评阅已留在本机，恢复后自动发送。",
        "No connection. Your vote is kept on this device and will be sent by itself.",
    ),
    "say_offline_text": (
        "连接中断。请不要关闭此页：您的修改只在此页中，恢复后自动发送。",
        "No connection. Keep this page open: your edit is only here, and will be sent by itself.",
    ),
    "say_refused": ("服务器未接受：{0}", "The server refused this: {0}"),
    "say_nothing": ("没有可撤销的", "Nothing to undo"),
    "say_replaced": ("已去除 {0} 处身份信息", "{0} identifiers were taken out"),
}


def words(language: Language) -> dict[str, str]:
    """Everything the pages say in one language."""
    place = 0 if language == "zh" else 1
    return {key: pair[place] for key, pair in _WORDS.items()}


def task_name(task: str | None, language: Language) -> str:
    """A task's name for people; a hospital's own task goes by its own name."""
    pair = TASKS.get(task or "")
    return pair[0 if language == "zh" else 1] if pair else (task or "")
