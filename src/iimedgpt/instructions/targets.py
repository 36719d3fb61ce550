"""What a task answers with, made from the events that hold it; no future, no results, no inventions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile

from iimedgpt import clinical
from iimedgpt.instructions.tasks import How, Task
from iimedgpt.instructions.timeline import NAMES, mask_referrals
from iimedgpt.quantities import without_numbering
from iimedgpt.text import fold, is_chinese, sentences, unique
from iimedgpt.types import EventKind, Language, Record

_JOIN: dict[Language, str] = {"zh": "、", "en": ", "}
_COLON: dict[Language, str] = {"zh": "：", "en": ": "}

# a standing order to come back is a plan, not something found later
_STANDING = re.compile(
    r"(?:(?:停药|出院|术后)?[\d一二两三四五六半]+个?(?:小时|天|周|月|年)后|每(?:隔)?[\d半]*个?[年月周日天]|定期|按时|门诊|如有不适|必要时)"
    r"[^，,。；;]{0,6}(?:复查|随访|复诊|监测|就诊)|注意[^，,。；;]{0,12}|术后\d+(?:天|周|个月)复[查诊]|"
    # what to do if it gets worse or better, and what not to do meanwhile
    r"(?:^|(?<=[，,。；;.、]))(?!患[者儿])[^，,。；;]{1,20}?(?:立即|及时|随时|尽快|马上)[^，,。；;]{0,6}?"
    r"(?:就诊|就医|复诊|来院|告知|报告)|"
    r"(?:减轻|缓解|好转|消失)[后时也]?(?:不|勿|切勿)[^，,。；;]{0,4}(?:停药|减量|换药)|"
    r"(?:治疗|用药|服药)期间(?=避免|忌|禁|勿|不|注意|需|应|监测)|家属(?=[^，,。；;]{0,4}(?:查|筛|检测|接种|防护))|"
    r"体温[^，,。；;]{0,8}℃(?:以上)?[时者]"
)
_OUTCOME = re.compile(
    r"好转|痊愈|治愈|出院|转归|死亡|抢救成功|愈合|病情(?:稳定|平稳|控制|加重|恶化)|随访|至今|期间|未再|无不适|预后|"
    r"恢复(?:良好|正常|顺利|可|尚可|中|至)|术后(?:恢复|第|\d|[一二三四五六七八九十]+[天日周])|返回?病房|"
    r"(?:症状|疼痛|[疼痛咳喘胀麻吐烧晕肿]|体温|发热|血压|血糖|出血|体征|感染|炎症|指标|皮疹|腹泻)[^，,。；;]{0,6}"
    r"(?:缓解|消失|减轻|改善|控制(?!血|感|体)|下降|降至|正常|加重|减少|消退|停止)|较(?:前|入院)|逐渐|满意|"
    r"第[\d一二三四五六七八九十]+(?:天|日|周)|(?:\d+|[一二两三四五六七八九十半])个?(?:天|日|周|月|小时)(?:后|余后)|"
    r"(?:提升|上升|升|增|降)至|(?:^|[，,。；;])出现|患者(?:出现|诉|自觉|逐渐|未|无|仍|突)|再次|转(?:入|至|科|院|[^，,。；;]{1,6}科)|会诊|放弃|拒绝|签字|家属|娩出|产出|apgar"
)
_FINDING = re.compile(
    r"复查[^。；;]{0,24}(?:提示|示|见|[:：]|正常|下降|升高|异常|阴性|阳性)|病理[^，,。；;]{0,12}(?:示|确认|回报|符合|结果|诊断|为|证实|[:：])|冰冻|免疫组化|术中|探查|手术(?:顺利|时长|时间|经过)|"
    r"升高|偏高|降低|减低|增高|发现|肌力[^，,。；;]{0,6}(?:级|正常|恢复)|抽出|所见|无手术禁忌|(?:血运|生命体征|一般情况)[^，,。；;]{0,6}(?:良好|可|平稳)|渗出|"
    r"提示|显示|示[:：]|[查片CTRI图超镜]示|可见|未见|回报|回示|确诊|证实|确认|检出|阴性|阳性|"
    r"结果[^，,。；;]{0,6}(?:无|正常|异常|均|为)|(?:均|无|未见)(?:明显)?(?:正常|异常)|查体|听诊|神志清"
)
_LAB_VALUE = re.compile(
    r"\d\s*(?:[mµμun]*mol|[mµμunp]?g|m?i?u)/(?:m|d|h)?l(?![a-z])|10\s*\^|mmhg|\d\s*℃", re.IGNORECASE
)
_OUTCOME_EN = re.compile(
    r"\b(?:improved|improving|improvement|discharged?|resolved|recovered|recovery|stable|tolerated|uneventful|"
    r"postoperative course|pathology|cured|healed|expired|died|revealed|showed|demonstrated|was found|returned)\b",
    re.IGNORECASE,
)
_PLAN = re.compile(
    r"治疗|予|给|行|术|服|药|用|注|滴|输|吸氧|休息|卧床|建议|[食餐饮禁戒]|护理|监测|复查|复诊|门诊|抗|补|控制|纠正|营养|减压|"
    r"避免|抬高|记录|锻炼|运动|"
    r"\b(?:start|continue|give|take|prescrib|recommend|refer|order|schedule|increase|decrease|follow)",
    re.IGNORECASE,
)
_RESULT = re.compile(
    r"\d+(?:\.\d+)?\s*(?:%|℃|[a-zμ]+/)|10\s*\^|[:：]\s*\S|阴性|阳性|正常|异常|升高|降低|增高|减低|偏[高低]|提示|显示|所见|"
    r"[\(（][+\-＋－±][\)）]|(?<!检)示|未见|可见|考虑|\b(?:normal|abnormal|positive|negative|elevated|shows?|showed|revealed)\b",
    re.IGNORECASE,
)
_ORDER_VERB = re.compile(
    r"^(?:建议|需要?|拟|急|完善|进行|行|查|做|复查|检查|\s)+(?=.{2})|^(?:order|obtain|get|check)\s+"
)
_ORDER_BLOCK = re.compile(r"#?\s*检查项目\s*#?\s*[:：]?\s*\n?(?P<body>[^#]+)")
_ITEM_NUMBER = re.compile(r"((?:^|(?<=[。；;\n]))\s*[(（]?)\d{1,2}([.、)）](?!\d))")
_BARE_NUMBER = re.compile(r"\s*[(（]?\d{1,2}[.、)）]")
_CLAUSE = re.compile(r"(?<=[，,。；;])|(?<=：)(?=[无否未])")
_BARE_FINDING = re.compile(r"(?![有伴无未否现后曾偶])[^，,。；;\d]{1,8}[，,。；;]?")
_NEGATION_CLAUSE = re.compile(
    r"\s*(?:[\u4e00-\u9fff]{0,4}[：:]?)?(?:否认|未见|没有|不伴|无)|"
    r"\s*(?:(?:the )?patient |s?he |they )?(?:also )?(?:den(?:ies|ied)|no)\b",
    re.I,
)
_MAX_NAME_CHARS = {"zh": 16, "en": 40}  # longer is a sentence, not the name of an examination


@dataclass(frozen=True)
class Target:
    """An answer, or the reason why there is none."""

    text: str = ""
    reason: str | None = None
    items: tuple[str, ...] = ()  # names that could already stand in the prompt
    n_removed: int = 0  # sentences about the future


def build_target(record: Record, task: Task) -> Target:
    """The answer of a task for a record, or the reason why the record has none."""
    events = [event for event in record.events if event.kind in task.answers]
    if not events and not (task.how == "examination_names" and _ordered_in_dialogue(record)):
        return Target(reason="no_answer_event")
    return _BUILDERS[task.how](record, task)


def _preferred(record: Record, task: Task) -> str:
    """Text of the first kind of the task's answers that the record has."""
    for kind in task.answers:
        texts = [event.text for event in record.events if event.kind is kind]
        if texts:
            return "\n".join(texts)
    return ""


def _department(record: Record, task: Task) -> Target:
    names = clinical.departments(_preferred(record, task))
    if not names:
        return Target(reason="no_department")
    return Target(_JOIN[record.language].join(names), items=tuple(names))


def _sections(record: Record, task: Task) -> Target:
    """One line a section, in the order of the task; a clause that refers the patient on is no history."""
    lines = []
    for kind in task.answers:
        texts = [_without_referral(event.text) for event in record.events if event.kind is kind]
        text = "\n".join(text for text in texts if text)
        if text:
            lines.append(f"{NAMES[record.language][kind]}{_COLON[record.language]}{text}")
    return Target("\n".join(lines)) if lines else Target(reason="no_answer_event")


def _without_referral(text: str) -> str:
    masked, n_masked = mask_referrals(text)
    if not n_masked:
        return text
    clauses = re.split(r"(?<=[，,。；;\n])", masked)
    kept = "".join(clause for clause in clauses if "[诊断]" not in clause and "[diagnosis]" not in clause)
    return re.sub(r"[，,]$", "。", kept.strip())


def _examination_names(record: Record, task: Task) -> Target:
    """Names as ordered; else names found in the results, without the results."""
    orders = [event.text for event in record.events if event.kind is EventKind.EXAMINATION_ORDER]
    if orders and EventKind.EXAMINATION_ORDER in task.answers:
        return _order_names("\n".join(orders), record.language)
    text = _preferred(record, task) or _ordered_in_dialogue(record)
    return _names(clinical.examinations(text), record.language)


def _order_names(text: str, language: Language) -> Target:
    names: list[str] = []
    for part in re.split(r"[、，,；;。\n]|(?:\s+and\s+)", without_numbering(text)):
        name = _ORDER_VERB.sub("", part.strip(" .-*•"))
        if not name:
            continue
        if _RESULT.search(name):
            return Target(reason="result_in_examination_answer")
        listed = clinical.examinations(name)
        if listed or len(name) <= _MAX_NAME_CHARS[language]:
            names += listed or [name]
    return _names(unique(names), language)


def _names(names: list[str], language: Language) -> Target:
    if not names:
        return Target(reason="no_examination_name")
    if any(_RESULT.search(name) for name in names):
        return Target(reason="result_in_examination_answer")
    return Target(_JOIN[language].join(names), items=tuple(names))


def _ordered_in_dialogue(record: Record) -> str:
    """Lists of examinations in the reporter's turns (under 检查项目), up to the next heading."""
    turns = (event for event in record.events if event.kind is EventKind.TURN and event.speaker == "reporter")
    return "\n".join(match["body"] for turn in turns for match in _ORDER_BLOCK.finditer(turn.text))


def _diagnosis(record: Record, task: Task) -> Target:
    text = _preferred(record, task).strip()
    items = clinical.diagnoses(text)
    return Target(text, items=tuple(items)) if items else Target(reason="no_diagnosis")


def _basis(record: Record, task: Task) -> Target:
    """The first kind has to be there; the others follow under their names."""
    parts = []
    for kind in task.answers:
        text = "\n".join(event.text.strip() for event in record.events if event.kind is kind)
        if not text and kind is task.answers[0]:
            return Target(reason="no_answer_event")
        if text:
            parts.append(f"{NAMES[record.language][kind]}{_COLON[record.language]}{text}")
    return Target("\n".join(parts))


def _plan(record: Record, task: Task) -> Target:
    """The plan without outcomes, course and results found later, sentence by sentence."""
    parts = _statements(_preferred(record, task))
    kept = [part for part in parts if not is_future(part)]
    if len(kept) < len(parts) and record.language == "zh":  # a narrative: remarks without a plan go too
        kept = [part for part in kept if _PLAN.search(part) or clinical.drugs(part)]
    n_removed = len(parts) - len(kept)
    text = "".join(kept).strip()
    if not text:
        return Target(reason="only_outcome", n_removed=n_removed)
    return Target(_renumber(text) if n_removed else text, n_removed=n_removed)


def _renumber(text: str) -> str:
    """List numbers from 1 again after items were removed; no dangling semicolon."""
    count = 0

    def number(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return f"{match[1]}{count}{match[2]}"

    return re.sub(r"[；;]$", "。", _ITEM_NUMBER.sub(number, text))


def _statements(text: str) -> list[str]:
    """Sentences, a list number kept with what it numbers."""
    parts: list[str] = []
    for part in sentences(text):
        if parts and _BARE_NUMBER.fullmatch(parts[-1]):
            parts[-1] += part
        else:
            parts.append(part)
    return parts


def is_future(sentence: str) -> bool:
    """True for a sentence that tells an outcome, the course, or a result found after the plan.

    Two absent findings in one sentence are an examination, not a plan.
    """
    planned = _STANDING.sub("", sentence)
    if any(pattern.search(sentence) for pattern in (_FINDING, _OUTCOME_EN)):
        return True
    if any(pattern.search(planned) for pattern in (_LAB_VALUE, _OUTCOME)):
        return True
    return len(clinical.negations(sentence)) > 1


def without_invented_negations(text: str, visible: str) -> tuple[str, int]:
    """(text, clauses removed): a clause of absent findings goes where most were never asked about.

    A note holds what was said; negations that the dialogue lacks would teach to invent them. What
    follows such a clause without a verb of its own ("无发热，寒战") goes with it, or it would turn
    into a finding.
    """
    kept, n_removed = [], 0
    for line in text.split("\n"):
        clauses = [part for part in (_CLAUSE.split(line) if is_chinese(line) else _statements(line)) if part]
        good = _supported_clauses(clauses, visible)
        n_removed += len(clauses) - len(good)
        if good and (len(good) == len(clauses) or not good[-1].endswith(("：", ":")) or len(good) > 1):
            kept.append(re.sub(r"[，,]$", "。", "".join(good).strip()))
    return "\n".join(kept), n_removed


def _supported_clauses(clauses: list[str], visible: str) -> list[str]:
    good: list[str] = []
    is_running = False  # inside the enumeration of a clause that was removed
    for clause in clauses:
        is_running = _is_invented(clause, visible) or (is_running and _BARE_FINDING.fullmatch(clause) is not None)
        if not is_running:
            good.append(clause)
        elif good and clause.endswith(("。", "；", ";")):  # the sentence now ends where the removed clause began
            good[-1] = re.sub(r"[，,]$", clause[-1], good[-1])
        is_running = is_running and not clause.endswith(("。", "；", ";"))
    return good


def _is_invented(clause: str, visible: str) -> bool:
    found = clinical.negations(clause) if _NEGATION_CLAUSE.match(clause) else []
    missing = clinical.unsupported(clause, visible).get("negation", []) if found else []
    return len(missing) * 2 > len(found)


def is_stated(target: Target, visible: str) -> bool:
    """True where a name of the answer already stands in the visible record."""
    text = fold(visible)
    return any(name in text for name in map(_bare, target.items) if len(name) > 1)


def _bare(name: str) -> str:
    """高血压病(2级) → 高血压: as a history would call it."""
    name = fold("".join(takewhile(lambda char: char not in "(（[", name)))
    return name.removesuffix("病") if len(name) > 3 else name


_BUILDERS: dict[How, Callable[[Record, Task], Target]] = {
    "department": _department,
    "sections": _sections,
    "examination_names": _examination_names,
    "diagnosis": _diagnosis,
    "basis": _basis,
    "plan": _plan,
}
