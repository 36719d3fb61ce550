"""The data card's sentences in English and Chinese; single words come from ``words``."""

from __future__ import annotations

from iimedgpt.report.words import Words

SENTENCES: dict[str, tuple[str, str]] = {
    "title": ("Data card", "数据卡"),
    "what": (
        "Instructions for clinical tasks, built from de-identified medical records. Counts and lengths only: "
        "this card holds no text of any record.",
        "由去标识病历生成的临床任务指令。本卡只含计数与长度，不含任何病历文本。",
    ),
    "sources": ("Sources and licences", "来源与许可"),
    "other": ("Other instruction data", "其他指令数据"),
    "counts": ("Conversations per task, source and split", "各任务、来源与划分的对话数"),
    "departments": ("Departments", "科室"),
    "departments_note": (
        "Patients whose record names the department; departments of fewer than {n} patients are counted together.",
        "病历中写明科室的患者数；少于 {n} 名患者的科室合并计数。",
    ),
    "few": ("fewer than {n} patients each", "各少于 {n} 名患者"),
    "unnamed": ("not named", "未写明"),
    "department": ("Department", "科室"),
    "lengths": ("Lengths", "长度"),
    "lengths_note": (
        "Characters of the prompt (all messages before the answer) and of the answer.",
        "提示（回答之前的全部消息）与回答的字符数。",
    ),
    "alt": (
        "Distribution of the lengths of prompts and answers in characters; the table below gives the same numbers.",
        "提示与回答长度（字符）的分布；下表给出相同的数值。",
    ),
    "prompt": ("Prompt", "提示"),
    "answer": ("Answer", "回答"),
    "characters": ("characters", "字符"),
    "quantiles": ("5 % / median / 95 % / longest", "5 % / 中位数 / 95 % / 最长"),
    "drops": ("What was dropped, and why", "剔除及原因"),
    "deid": ("De-identification", "去标识"),
    "deid_note": (
        "Identifiers replaced by a placeholder or moved (dates), by category. What was not found is not counted here.",
        "按类别统计已替换为占位符或已平移（日期）的标识信息；未被发现者不在此计数之内。",
    ),
    "category": ("Category", "类别"),
    "replaced": ("Replaced", "替换数"),
    "splits": ("Splits, and how they were made", "划分方式"),
    "splits_note": (
        "By patient: no patient stands on two sides. Share of patients in test {test:.0%}, in validation "
        "{validation:.0%}; share of diseases whose every patient is held out {diseases:.0%}; seed {seed}.",
        "按患者划分：任何患者不会出现在两侧。测试集患者占 {test:.0%}，验证集占 {validation:.0%}；"
        "整病种留出的比例为 {diseases:.0%}；种子 {seed}。",
    ),
    "split": ("Split", "划分"),
    "diseases": ("Diseases", "病种"),
    "overlap": (
        "Counted over the rows as written, test shares with the other sides: {patients} patients, "
        "{diseases} held-out diseases, {prompts} identical prompts.",
        "按写出的数据行统计，测试集与其余部分共有：患者 {patients} 名，留出病种 {diseases} 个，相同提示 {prompts} 条。",
    ),
    "decontamination": ("Decontamination", "去污染"),
    "decontamination_note": (
        "Other data that repeats a long run of characters of a held-out text is left out: {n} rows were.",
        "与留出文本有较长连续字符重复的其他数据予以剔除：共 {n} 条。",
    ),
    "pairs": ("Preference pairs", "偏好对"),
    "provenance": ("Provenance", "溯源"),
    "provenance_note": (
        "`iimedgpt show RUN --instruction ID` leads from the id of a row to its record's hash, its template and the "
        "code that made it.",
        "`iimedgpt show RUN --instruction ID` 可由任一行的标识追溯到病历哈希、模板与代码版本。",
    ),
    "limits": ("Known limits", "已知局限"),
    "limit_deid": (
        "De-identified by rules and dictionaries: an identifier that no rule knows stays. Treat the set as personal "
        "data; it is not anonymous.",
        "去标识依靠规则与词典，规则未覆盖的标识信息可能残留。请按个人信息管理；本数据并非匿名数据。",
    ),
    "limit_answers": (
        "Reference answers are what the record says, not the best medicine; no clinician has checked each one.",
        "参考答案即病历所载，未必是最佳诊疗；并未由临床医生逐条核对。",
    ),
    "limit_hospital": (
        "Departments, diseases and habits are those of the sources; nothing is said about patients elsewhere.",
        "科室、病种与书写习惯仅代表来源机构，不能推及其他患者。",
    ),
    "limit_synthetic": (
        "Synthetic records are far more regular than real ones.",
        "合成病历远比真实病历规整。",
    ),
    "limit_device": (
        "Not a medical device. Nothing here is medical advice.",
        "非医疗器械，内容不构成医疗建议。",
    ),
}


def sentence(words: Words, key: str) -> str:
    """A sentence in the language of the words, placeholders unfilled."""
    return SENTENCES[key][0 if words.language == "en" else 1]
