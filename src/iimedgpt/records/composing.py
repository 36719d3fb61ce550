"""The facts of a case → the texts of its record, in the order of time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from random import Random

from iimedgpt.records.cases import Case, denied_words
from iimedgpt.records.people import pick
from iimedgpt.records.planting import Draft, Place
from iimedgpt.types import EventKind

VISIBLE = (
    EventKind.DEMOGRAPHICS,
    EventKind.CHIEF_COMPLAINT,
    EventKind.PRESENT_ILLNESS,
    EventKind.PAST_HISTORY,
    EventKind.PERSONAL_HISTORY,
    EventKind.FAMILY_HISTORY,
    EventKind.PHYSICAL_EXAMINATION,
    EventKind.AUXILIARY_EXAMINATION,
)
MAX_BASIS_CHARS = 60
MAX_DIFFERENTIAL_CHARS = 50
MAX_TREATMENT_CHARS = 70
MAX_KEY_CHARS = 26
MAX_STAY_DAYS = 15
SHORT_DIALOGUE_CHARS = 55  # facts; with fewer, every question is asked by itself
ROOM_FOR_MORE_CHARS = 150  # facts; with more, history that tells nothing new is left out

# complaints that tell what happened or was noticed: 出现 does not fit before them
_HAPPENED = re.compile(
    "发现|体检|检查|查体|产检|被|摔|跌|扭|撞|碰|砸|压伤|坠|车祸|外伤|受伤|烫|烧伤|割|切|刺|咬|误|口服|服|进|食用|饮酒|酒后|受凉|淋雨|"
    "劳累|活动|运动|搬|弯腰|接触|吸入|情绪|饭后|餐后|饱餐|感冒|用力|久坐|哭闹|自觉|自行|不慎|不能|无法|家长|家人|夜间不|.{1,4}外伤后"
)
# what comes before the symptom: 饮酒后|上腹痛, 站立时|右腹股沟包块, 夜间|喘憋
_BEFORE = re.compile("^([^，、]{1,8}(?<!骨)后|[^，、]{2,6}(?<!小)时|夜间|晨起)(?!出现|发现|开始|不|无法)(.+)$")
_SUDDEN = re.compile("突发|突然|骤")
_ONGOING = re.compile("^.{0,4}?(?:反复|间断|经常|时常|逐渐|进行性)")
_STATE = re.compile("停经|孕|妊娠|月经|经期|绝经|新生|出生|生后|自幼|产后|术后|，")
_TIME_AGO = re.compile(r"(?:天|日|周|月|年|小时|分钟)余?$|^半")
_CAUSE = re.compile("后|因|诱|伤|孕|停经|发现|时|体检|逐渐|反复|间断")
_FINE = re.compile("未见|正常|阴性|无异常")
_DENIED = re.compile("^(?:否认|无)([^，；]+)$")
# 糖尿病史 is 糖尿病, 胆囊结石病史 is 胆囊结石
_HISTORY = re.compile("((?:糖尿|慢性|疾|银屑|心脏|冠心|肾|肝|血液|肠|胃|免疫|结核)病)?(?:病史|史)")
_NO_SIGN = re.compile("无(?!力)|未|不[大高肿红]|软|正常|阴性|对称|清|通畅|完整|居中|律齐|光滑|存在|可$")

_SPAN = re.compile(r"(\d+)(天|日|周|个?月)")
_DAYS_OF = {"天": 1, "日": 1, "周": 7, "月": 30, "个月": 30}
_ENDS: tuple[Place, ...] = ("before", "after")
_DAY = 24 * 60


def compose(case: Case, is_inpatient: bool, rng: Random) -> list[Draft]:
    """Every event of the record, in the order of time (minutes since the start)."""
    drafts = list(_opening(case, rng))
    if case.has_dialogue:
        drafts += _dialogue(case, rng)
    drafts += _history(case, rng)
    drafts += _work_up(case, is_inpatient, rng)
    if is_inpatient:
        drafts += _stay(case, rng)
    return drafts


def _opening(case: Case, rng: Random) -> Iterator[Draft]:
    person, age = case.person, f"{case.age}岁"
    if case.age == 0:
        age = f"{2 + int(rng.random() * 10)}个月"
    sex = "男" if person.sex == "male" else "女"
    who = f"{sex}，{age}，{person.job}"
    yield Draft(EventKind.DEMOGRAPHICS, who, 0, places=_ENDS)
    yield Draft(EventKind.CHIEF_COMPLAINT, case.complaint, 1)
    yield Draft(EventKind.DEPARTMENT, case.plan.disease.department, 2)


def _dialogue(case: Case, rng: Random) -> Iterator[Draft]:
    """Six or eight turns that tell exactly the findings, denials and history of the record."""
    first, *others = (finding.patient for finding in case.findings)
    more = "，".join(others)
    patient = "孩子" if case.is_child else "我"
    opening = f"{pick(('', '', '大夫，', '医生，'), rng)}{patient}{case.complaint}了，{first}"
    turns: list[tuple[str, str]] = []
    if rng.random() < 0.3 and case.n_dialogue_chars() > SHORT_DIALOGUE_CHARS:
        opening += f"，{more}"
    else:
        turns.append((pick(("还有别的不舒服吗？", "还有什么症状？", "其他方面呢？"), rng), f"{more}。"))
    turns += [_ask_denied(case, rng), _ask_past(case, rng)]
    texts = [f"{opening}。", *(text for turn in turns for text in turn), f"{case.plan.disease.assertion}。"]
    last_answer = len(texts) - 2
    for i, text in enumerate(texts):
        draft = Draft(EventKind.TURN, text, 5 + i, speaker="doctor" if i % 2 else "patient")
        draft.places = ("opening",) if i == 0 else ("answer",) if i == last_answer else ()
        yield draft


def _ask_denied(case: Case, rng: Random) -> tuple[str, str]:
    """Every denial as one question, in plain words or in the record's own."""
    answers = list(dict.fromkeys(denial.patient.rstrip("。") for denial in case.denied))
    question = "，".join(denial.question[:-1] for denial in case.denied)
    if rng.random() < 0.5 and not any("史" in denial.record for denial in case.denied):
        question = "有没有" + "，".join("、".join(denied_words(denial)) for denial in case.denied)
    if len(answers) < len(case.denied) and answers[0] in ("没有", "没"):
        return f"{question}？", "都没有。"
    return f"{question}？", "，".join(answers) + "。"


def _ask_past(case: Case, rng: Random) -> tuple[str, str]:
    told = _HISTORY.sub(r"\1", case.past)
    if denied := _DENIED.match(told):
        family = denied[1].removesuffix("家族")
        return (f"家里有人得{family}吗？" if family != denied[1] else f"以前有过{denied[1]}吗？"), "没有。"
    said = told.replace("每日", "每天").replace("否认", "没有").replace("既往体健", "一直挺健康")
    return pick(("以前身体怎么样？", "以前得过什么病吗？"), rng), f"{said}。"


def _history(case: Case, rng: Random) -> Iterator[Draft]:
    yield _present_illness(case, rng)
    past = case.past
    if case.has_dialogue:  # nothing that was not asked
        yield Draft(EventKind.PAST_HISTORY, f"{past}。", 21)
        return
    has_room = case.n_section_chars() < ROOM_FOR_MORE_CHARS
    if has_room and not case.plan.is_allergic and rng.random() < 0.3:
        past += "，否认药物过敏史"
    yield Draft(EventKind.PAST_HISTORY, f"{past}。", 21, places=("after",))
    if has_room and rng.random() < 0.2:
        yield Draft(EventKind.PERSONAL_HISTORY, _personal(case, rng), 22)
    elif has_room and not case.plan.is_familial and rng.random() < 0.2:
        yield Draft(EventKind.FAMILY_HISTORY, pick(("否认家族遗传病史。", "家族中无类似疾病。"), rng), 23)


def _personal(case: Case, rng: Random) -> str:
    if case.is_child:
        return pick(("与父母同住，生长发育同同龄儿。", "生长发育正常。"), rng)
    return pick(("生于原籍，久居当地。", "生活起居尚可，居住环境良好。"), rng)


def _present_illness(case: Case, rng: Random) -> Draft:
    lead = "患儿" if case.is_child else "患者"
    findings = "，".join(finding.record for finding in case.findings)
    denied = "，".join(denial.record for denial in case.denied)
    closing = pick(("", "", "今来就诊。", "为进一步诊治来院。"), rng)
    variant = int(rng.random() * 4)
    if variant == 0:
        body = f"因“{case.complaint}”就诊。{findings.removeprefix('伴')}，{denied}。"
        closing = ""
    elif variant == 1 and "否认" not in denied:
        body = f"{_onset(case, rng)}，{findings}。病程中{denied}。"
    else:
        body = f"{_onset(case, rng)}，{findings}，{denied}。"
    draft = Draft(EventKind.PRESENT_ILLNESS, f"{lead}{body}{closing}", 20, lead=lead)
    if not case.has_dialogue:
        draft.places = ("lead",) if closing else ("lead", "after")
    return draft


def _onset(case: Case, rng: Random) -> str:
    """When it began: 3天前出现上腹痛, 1周前发现血压升高, 停经50天."""
    head, ago = case.head, f"{case.duration}前"
    if not head or case.tail or _STATE.search(head) or not _TIME_AGO.search(case.duration):
        return case.complaint
    before = _BEFORE.match(head)
    if before and (_HAPPENED.match(head) or before[1][-1] != "后"):
        return f"{ago}{before[1]}出现{before[2]}"
    if _HAPPENED.match(head) or _SUDDEN.search(head):
        return f"{ago}{head}"
    if _ONGOING.match(head):
        return f"{ago}开始{head}"
    facts = head + "".join(finding.record for finding in case.findings)
    cause = "" if case.has_dialogue or _CAUSE.search(facts) or rng.random() < 0.5 else "无明显诱因"
    return f"{ago}{cause}出现{head}"


def _work_up(case: Case, is_inpatient: bool, rng: Random) -> Iterator[Draft]:
    vitals = f"{case.vitals}。" if case.vitals else ""
    results = "；".join(f"{name}：{result}" for name, result in case.results)
    done = 30 + (_DAY if is_inpatient else 60 + int(rng.random() * 60))
    yield Draft(EventKind.PHYSICAL_EXAMINATION, f"{vitals}{'；'.join(case.signs)}。", 25, places=_ENDS)
    yield Draft(EventKind.EXAMINATION_ORDER, "、".join(name for name, _ in case.results), 30)
    yield Draft(EventKind.AUXILIARY_EXAMINATION, f"{results}。", done, places=_ENDS)
    yield Draft(EventKind.INITIAL_DIAGNOSIS, case.plan.disease.name, done + 5)
    yield Draft(EventKind.BASIS, _basis(case, rng), done + 6)
    yield Draft(EventKind.DIFFERENTIAL, _differential(case, rng), done + 7)
    yield Draft(EventKind.TREATMENT, _treatment(case, rng), done + 10)


def _basis(case: Case, rng: Random) -> str:
    """Complaint or finding, sign and the result that settles it, as short as it has to be."""
    examination, result = case.results[case.key]
    key = _key_clauses(result)
    shows = f"{examination}示{key.removeprefix('见')}"
    symptom = case.complaint
    finding = pick(case.findings, rng).record.removeprefix("伴")
    clauses = (clause for sign in case.signs for clause in re.split("[，；。]", sign))
    sign = next((clause for clause in clauses if not _NO_SIGN.search(clause)), "")
    variants = [
        f"{symptom}，{finding}，{shows}。",
        f"{symptom}，结合{examination}（{key}）支持诊断。",
    ]
    if sign:
        variants += [
            f"{symptom}，{finding}；查体：{sign}；{examination}：{key}。",
            f"根据病史（{symptom}）、体征（{sign}）及{examination}（{key}）。",
            f"有{symptom}的病史，查体见{sign}，{shows}。",
            f"症状：{finding}；体征：{sign}；{examination}：{key}。",
        ]
    start = int(rng.random() * len(variants))
    for text in (*variants[start:], *variants[:start]):
        if len(text) <= MAX_BASIS_CHARS:
            return text
    return f"{symptom}；{examination}：{key}。"


def _key_clauses(result: str) -> str:
    """The telling part of a result: its abnormal clauses as far as they fit."""
    clauses = result.split("，")
    telling = [clause for clause in clauses if not _FINE.search(clause)] or clauses
    key = telling[0]
    for clause in telling[1:]:
        if len(key) + 1 + len(clause) > MAX_KEY_CHARS:
            break
        key += f"，{clause}"
    return key


def _differential(case: Case, rng: Random) -> str:
    item = pick(case.plan.disease.differentials, rng)
    reason = item.reason.rstrip("。")
    text = f"{pick(('应与', '需与'), rng)}{item.name}鉴别：{reason}。"
    return text if len(text) <= MAX_DIFFERENTIAL_CHARS else f"{item.name}：{reason}。"


def _treatment(case: Case, rng: Random) -> str:
    """Two or three items of treatment and advice: numbered, or joined."""
    disease = case.plan.disease
    items = [disease.treatment[0]]
    if rng.random() < 0.85:
        items.append(pick(disease.treatment[1:], rng))
    items.append(pick(disease.advice, rng))
    # "3." before "1个月后复查" would read 3.1个月
    is_numbered = rng.random() < 0.5 and not any(item[0].isdigit() for item in items)
    while len(items) > 2 and len(_joined(items, is_numbered)) > MAX_TREATMENT_CHARS:
        del items[1]
    return _joined(items, is_numbered)


def _joined(items: Sequence[str], is_numbered: bool) -> str:
    if is_numbered:
        items = [f"{place}.{item}" for place, item in enumerate(items, start=1)]
    return "；".join(items) + "。"


def _stay(case: Case, rng: Random) -> Iterator[Draft]:
    """What came of it: the course on the ward, or weeks after the discharge where it tells of weeks."""
    name = case.plan.disease.name
    course = pick(case.plan.disease.course, rng).rstrip("。")
    told = max((int(n) * _DAYS_OF[unit] for n, unit in _SPAN.findall(course)), default=0)
    is_late = told > MAX_STAY_DAYS or "疗程" in course
    n_days = 4 + int(rng.random() * 7) if is_late else max(4 + int(rng.random() * 7), told + 1)
    lead = "患者"
    outcome = "经治疗病情平稳" if is_late else course
    summary = f"{lead}因“{case.complaint}”入院，诊断为{name}。{outcome}，准予出院。"
    if not is_late:
        yield Draft(EventKind.COURSE, f"{course}。", (n_days - 1) * _DAY, places=_ENDS)
    yield Draft(EventKind.FINAL_DIAGNOSIS, name, n_days * _DAY)
    yield Draft(EventKind.DISCHARGE_SUMMARY, summary, n_days * _DAY + 30, lead=lead, places=("lead", "after"))
    if is_late:
        yield Draft(EventKind.COURSE, f"随访：{course}。", (n_days + max(told, 30)) * _DAY)
