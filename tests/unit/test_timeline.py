"""What a task may see at its branch point, and what it never may."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iimedgpt.errors import ConfigError
from iimedgpt.instructions.dialogue import Stance, read_dialogue, stance
from iimedgpt.instructions.tasks import LATE_KINDS, PACKAGED, Task, load_tasks
from iimedgpt.instructions.timeline import build_trunk, mask_referrals, order_events, render, visible
from iimedgpt.types import Event, EventKind, Language, Provenance, Record, Speaker

NAMES = ("triage", "record", "examination", "diagnosis", "basis", "treatment")
TASKS = {task.name: task for task in load_tasks(NAMES)}
K = EventKind


def record_of(*events: Event, language: Language = "zh") -> Record:
    return Record(
        record_id="r1",
        patient_id="p1",
        encounter_id="e1",
        source="test",
        language=language,
        events=events,
        provenance=Provenance(reader="jsonl", file="a.jsonl", file_sha256="0", row=1),
    )


def event(kind: EventKind, text: str, time: int | None = None) -> Event:
    return Event(kind=kind, text=text, time=time)


def turn(speaker: Speaker, text: str, time: int | None = None) -> Event:
    return Event(kind=K.TURN, text=text, speaker=speaker, time=time)


def shown(record: Record, task: str) -> str:
    return render(visible(build_trunk(record), TASKS[task]), record.language)


FULL = record_of(
    event(K.DEMOGRAPHICS, "女，40岁"),
    event(K.CHIEF_COMPLAINT, "右上腹痛1天"),
    event(K.DEPARTMENT, "普通外科"),
    event(K.PRESENT_ILLNESS, "进食油腻后腹痛"),
    event(K.PHYSICAL_EXAMINATION, "右上腹压痛"),
    event(K.EXAMINATION_ORDER, "腹部超声"),
    event(K.AUXILIARY_EXAMINATION, "胆囊壁增厚"),
    event(K.INITIAL_DIAGNOSIS, "急性胆囊炎"),
    event(K.BASIS, "腹痛伴压痛"),
    event(K.TREATMENT, "禁食，抗感染"),
    event(K.COURSE, "次日缓解"),
    event(K.FINAL_DIAGNOSIS, "胆囊结石"),
    event(K.DISCHARGE_SUMMARY, "痊愈"),
)

HISTORY = "【一般资料】女，40岁\n【主诉】右上腹痛1天"
EXAMINED = HISTORY + "\n【现病史】进食油腻后腹痛\n【体格检查】右上腹压痛"


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ("triage", HISTORY),
        ("examination", EXAMINED),
        ("diagnosis", EXAMINED + "\n【辅助检查】胆囊壁增厚"),
        ("basis", EXAMINED + "\n【辅助检查】胆囊壁增厚\n【初步诊断】急性胆囊炎"),
        ("treatment", EXAMINED + "\n【辅助检查】胆囊壁增厚\n【初步诊断】急性胆囊炎"),
        ("record", "【一般资料】女，40岁"),  # no dialogue to write from
    ],
)
def test_each_task_sees_the_record_up_to_its_branch_point(task: str, text: str) -> None:
    assert shown(FULL, task) == text


def test_english_blocks_carry_english_names() -> None:
    record = record_of(
        event(K.CHIEF_COMPLAINT, "cough"), turn("patient", "I cough."), event(K.PRESENT_ILLNESS, "x"), language="en"
    )
    assert shown(record, "diagnosis") == "Chief complaint: cough\nHistory of present illness: x"
    assert shown(record, "record") == "Patient: I cough."


def test_times_decide_where_every_event_has_one() -> None:
    record = record_of(
        event(K.AUXILIARY_EXAMINATION, "早的结果", 10),
        event(K.INITIAL_DIAGNOSIS, "诊断", 20),
        event(K.AUXILIARY_EXAMINATION, "晚的结果", 30),
        event(K.CHIEF_COMPLAINT, "腹痛", 0),
    )
    assert shown(record, "diagnosis") == "【主诉】腹痛\n【辅助检查】早的结果"


def test_the_canonical_order_decides_where_a_time_is_missing() -> None:
    ordered = order_events([event(K.TREATMENT, "a", 1), event(K.CHIEF_COMPLAINT, "b"), event(K.PAST_HISTORY, "c")])
    assert [e.text for e in ordered] == ["b", "c", "a"]


def test_a_known_later_time_hides_an_event_that_the_canonical_order_puts_first() -> None:
    record = record_of(
        event(K.CHIEF_COMPLAINT, "腹痛"),
        event(K.AUXILIARY_EXAMINATION, "术后复查", 90),
        event(K.INITIAL_DIAGNOSIS, "诊断", 20),
    )
    assert shown(record, "diagnosis") == "【主诉】腹痛"


def test_what_is_told_after_the_fact_comes_last_whatever_its_time_says() -> None:
    ordered = order_events([event(kind, kind.value, 0) for kind in LATE_KINDS] + [event(K.TREATMENT, "t", 99)])
    assert ordered[0].text == "t"


kinds = st.sampled_from(list(EventKind))
rows = st.lists(
    st.tuples(
        kinds,
        st.one_of(st.none(), st.integers(0, 9)),
        st.sampled_from(["patient", "doctor", "reporter"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=14,
)


@given(rows)
def test_no_task_ever_shows_an_event_at_or_after_its_branch_point(
    drawn: list[tuple[EventKind, int | None, Speaker, bool]],
) -> None:
    events = [
        Event(
            kind=kind,
            text=f"事件{i}号{'，疼吗？' if asks else ''}",
            time=time,
            speaker=speaker if kind is K.TURN else None,
        )
        for i, (kind, time, speaker, asks) in enumerate(drawn)
    ]
    trunk = build_trunk(record_of(*events))
    is_timed = all(e.time is not None for e in events)
    for task in TASKS.values():
        text = render(visible(trunk, task), "zh")
        answers = [e for e in events if e.kind in task.answers]
        for i, e in enumerate(events):
            is_seen = f"事件{i}号" in text
            forbidden = e.kind in LATE_KINDS | set(task.answers) | set(task.forbids) | {K.DEPARTMENT}
            assert not (is_seen and forbidden)
            if is_timed and task.branch == "before_answer":
                early = [a for a in answers if a.kind not in LATE_KINDS]
                first = min((a.time or 0 for a in early), default=99)
                assert not (is_seen and (e.time or 0) > first)


@given(rows)
def test_the_views_of_an_untimed_record_are_prefixes_of_one_another(
    drawn: list[tuple[EventKind, int | None, Speaker, bool]],
) -> None:
    events = [
        Event(kind=kind, text=f"事件{i}号疼吗？", speaker=speaker if kind is K.TURN else None)
        for i, (kind, _, speaker, _) in enumerate(drawn)
    ]
    trunk = build_trunk(record_of(*events))
    texts = [
        [e.text for e in visible(trunk, TASKS[name])] for name in ("triage", "examination", "diagnosis", "treatment")
    ]
    for shorter, longer in pairwise(texts):
        assert longer[: len(shorter)] == shorter


DIALOGUE = record_of(
    turn("doctor", "您好，有哪里不舒服？"),
    turn("patient", "膝盖疼，摔了一跤。"),
    turn("doctor", "我明白了。能走路吗？"),
    turn("patient", "走不了。"),
    turn("doctor", "建议您拍个X光片检查一下。"),
    turn("patient", "您好，医生建议我做X光检查。"),
    turn("reporter", "X光：未见骨折"),
    turn("doctor", "您可能是韧带损伤，需要冷敷治疗。"),
    turn("patient", "好的，我回去冷敷治疗。"),
    turn("doctor", "#诊断结果#\n韧带损伤"),
    event(K.FINAL_DIAGNOSIS, "韧带损伤"),
)
OPENING = "医生：您好，有哪里不舒服？\n患者：膝盖疼，摔了一跤。"
ASKED = OPENING + "\n医生：能走路吗？\n患者：走不了。"


def test_a_dialogue_serves_where_no_section_is_written() -> None:
    assert shown(DIALOGUE, "triage") == OPENING
    assert shown(DIALOGUE, "examination") == ASKED
    assert shown(DIALOGUE, "diagnosis") == ASKED + "\n检查：X光：未见骨折"
    assert shown(DIALOGUE, "record") == ASKED + "\n检查：X光：未见骨折"


def test_the_opening_words_come_before_the_department_that_they_lead_to() -> None:
    record = record_of(*DIALOGUE.events, event(K.DEPARTMENT, "骨科"))
    assert shown(record, "triage") == OPENING


def test_what_was_cut_is_counted() -> None:
    assert build_trunk(DIALOGUE).n_cut == {"asserting": 2, "echo": 2, "summary": 1}


def test_sections_beside_a_dialogue_serve_every_task_but_the_record() -> None:
    record = record_of(event(K.PRESENT_ILLNESS, "膝痛1天"), *DIALOGUE.events)
    assert shown(record, "diagnosis") == "【现病史】膝痛1天"
    assert shown(record, "record").startswith("医生：您好，有哪里不舒服？")


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("疼了多久了？", Stance.QUESTION),
        ("痰是什么颜色", Stance.QUESTION),
        ("请描述一下您的症状。", Stance.QUESTION),
        ("以前诊断过高血压吗？", Stance.QUESTION),
        ("考虑是不是胃溃疡呢？", Stance.DIAGNOSING),  # a guess in the shape of a question
        ("您可能是胃炎。", Stance.DIAGNOSING),
        ("吃点奥美拉唑。", Stance.DIAGNOSING),
        ("还是过敏的原因", Stance.DIAGNOSING),
        ("建议您先做血常规检查。", Stance.ADVISING),
        ("好的。", Stance.REMARK),
        ("do you have any chest pain ?", Stance.QUESTION),
        ("i think you have pneumonia .", Stance.DIAGNOSING),
        ("okay .", Stance.REMARK),
    ],
)
def test_a_doctors_sentence_asks_or_asserts(sentence: str, kind: Stance) -> None:
    assert stance(sentence) is kind


def visible_turns(*turns: Event) -> list[str]:
    return [kept.event.text for kept in read_dialogue(list(enumerate(turns))).turns.values()]


def test_only_the_questions_of_a_doctors_turn_stay() -> None:
    assert visible_turns(turn("doctor", "您可能是胃炎。还有发热吗？")) == ["还有发热吗？"]


def test_after_a_diagnosis_a_patient_is_heard_only_in_answer_to_a_question() -> None:
    asked = [turn("doctor", "可能是胃溃疡出血。大便黑吗？"), turn("patient", "有点黑。")]
    assert visible_turns(*asked) == ["大便黑吗？", "有点黑。"]
    told = [turn("doctor", "可能是胃溃疡出血。"), turn("patient", "那我该怎么办。")]
    assert visible_turns(*told) == []


def test_a_patient_who_repeats_the_diagnosis_is_cut_even_in_answer_to_a_question() -> None:
    turns = [turn("doctor", "可能是胃溃疡出血。大便黑吗？"), turn("patient", "黑，原来我是胃溃疡出血。")]
    assert visible_turns(*turns) == ["大便黑吗？"]


def test_a_patients_own_words_before_any_assertion_always_stay() -> None:
    assert visible_turns(turn("patient", "外院医生说我是胃炎，谢谢。")) == ["外院医生说我是胃炎，谢谢。"]


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ('急送我院，拟"肺炎"收住入院。', "急送我院，拟[诊断]收住入院。"),
        ("门诊以“胆囊炎，胆石症”收入院。", "门诊以[诊断]收入院。"),
        ("以“胸痛待查：收入院。", "以[诊断]收入院。"),  # the closing quote forgotten
        ("门诊拟双侧甲状腺肿物收住院。", "门诊拟[诊断]收住院。"),
        ("He was admitted with a diagnosis of pneumonia.", "He was admitted with a diagnosis of [diagnosis]."),
    ],
)
def test_a_referral_phrase_is_masked(text: str, masked: str) -> None:
    assert mask_referrals(text) == (masked, 1)


@pytest.mark.parametrize("text", ["因“腹痛3天”入院。", "以“咳嗽3天”收入院。", "可以随时住院。", "有肺炎病史。"])
def test_a_complaint_or_a_history_is_not_masked(text: str) -> None:
    assert mask_referrals(text) == (text, 0)


def test_the_mask_is_the_same_for_every_task_of_the_record() -> None:
    record = record_of(
        event(K.PRESENT_ILLNESS, "腹痛，拟“阑尾炎”收住入院"),
        event(K.INITIAL_DIAGNOSIS, "阑尾炎"),
        event(K.TREATMENT, "手术"),
    )
    assert all("拟[诊断]收住入院" in shown(record, task) for task in ("examination", "diagnosis", "treatment"))


def test_the_packaged_tasks_are_six_with_four_wordings_a_language() -> None:
    assert {path.stem for path in PACKAGED.glob("*.toml")} == set(NAMES)
    for task in TASKS.values():
        assert min(len(set(task.wordings("zh"))), len(set(task.wordings("en")))) >= 4


def own_task(tmp_path: Path, **changes: str) -> str:
    text = (PACKAGED / "triage.toml").read_text(encoding="utf-8")
    for old, new in changes.items():
        text = text.replace(old, new)
    (tmp_path / "own.toml").write_text(text, encoding="utf-8")
    return str(tmp_path)


@pytest.mark.parametrize("task", NAMES)
def test_no_wording_points_up_or_down_because_it_may_stand_before_or_after_the_record(task: str) -> None:
    wordings = (*TASKS[task].wordings("zh"), *TASKS[task].wordings("en"))
    assert [text for text in wordings for word in ("以上", "上述", "以下", "above", "below") if word in text] == []


def test_a_task_file_of_ones_own_replaces_and_adds(tmp_path: Path) -> None:
    replaced = load_tasks(["triage"], own_task(tmp_path, 导诊分科="分诊"))
    assert "分诊" in replaced[0].title.zh
    added = load_tasks(["triage", "ward"], own_task(tmp_path, **{'name = "triage"': 'name = "ward"'}))
    assert [task.name for task in added] == ["triage", "ward"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('turns = "opening"', 'tunrs = "opening"', "unknown key 'tunrs'"),
        ('how = "department"', 'how = "guess"', "key 'how'"),
        ('"chief_complaint"', '"department"', "must not be visible: department"),
        ('"chief_complaint"', '"final_diagnosis"', "must not be visible: final_diagnosis"),
        ('name = "triage"', "name = ", "not valid TOML"),
        ("docs = ", "# docs = ", "key 'docs'"),
    ],
)
def test_a_wrong_task_file_is_named_with_its_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_tasks(["triage"], own_task(tmp_path, **{old: new}))
    assert "own.toml" in str(caught.value)


def test_an_unknown_task_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown task 'triaje'"):
        load_tasks(["triaje"])
    with pytest.raises(ConfigError, match="no task file"):
        load_tasks(["triage"], str(tmp_path))


def test_a_task_that_would_see_its_own_answer_cannot_be_made() -> None:
    task = TASKS["diagnosis"].model_dump()
    with pytest.raises(ValueError, match="initial_diagnosis"):
        Task.model_validate({**task, "sees": (*task["sees"], "initial_diagnosis")})
