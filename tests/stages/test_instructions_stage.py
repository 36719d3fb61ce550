"""The instructions stage: records in, prompts with one trunk out, every record-task pair accounted for."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from iimedgpt import io
from iimedgpt.config import InstructionsConfig, RunConfig
from iimedgpt.errors import ConfigError, DataError
from iimedgpt.instructions import build
from iimedgpt.manifest import Manifest
from iimedgpt.run import Stage, StageContext, execute
from iimedgpt.types import Event, EventKind, Instruction, Provenance, Record

K = EventKind
TASK_NAMES = ("triage", "record", "examination", "diagnosis", "basis", "treatment")
FULL = (
    (K.DEMOGRAPHICS, "女，40岁"),
    (K.CHIEF_COMPLAINT, "右上腹痛1天"),
    (K.DEPARTMENT, "普通外科"),
    (K.PRESENT_ILLNESS, "1天前进食后右上腹痛，无发热"),
    (K.PHYSICAL_EXAMINATION, "体温37.2℃，右上腹压痛"),
    (K.EXAMINATION_ORDER, "血常规、腹部超声"),
    (K.AUXILIARY_EXAMINATION, "腹部超声：胆囊壁增厚"),
    (K.INITIAL_DIAGNOSIS, "急性胆囊炎"),
    (K.BASIS, "右上腹痛1天，右上腹压痛"),
    (K.TREATMENT, "禁食补液，予头孢曲松2g静滴。3天后好转出院。"),
    (K.FINAL_DIAGNOSIS, "急性胆囊炎，胆囊结石"),
)
TALK = (
    ("doctor", "哪里不舒服？"),
    ("patient", "右上腹痛1天了，吃完饭就疼。"),
    ("doctor", "发热吗？"),
    ("patient", "没有发热。"),
    ("doctor", "您这是胆囊炎，需要住院治疗。"),
)


def record_of(number: int, sections: Any = FULL, talk: Any = TALK) -> Record:
    events = [Event(kind=kind, text=text) for kind, text in sections]
    events += [Event(kind=K.TURN, text=text, speaker=speaker) for speaker, text in talk]
    return Record(
        record_id=f"r{number}",
        patient_id=f"p{number}",
        encounter_id=f"e{number}",
        source="test",
        language="zh",
        events=tuple(events),
        provenance=Provenance(reader="jsonl", file="a", file_sha256="0", row=number + 1, is_synthetic=True),
    )


def run(
    tmp_path: Path, records: list[Record], *, is_forced: bool = False, **options: Any
) -> tuple[Manifest, list[Instruction]]:
    def write(ctx: StageContext) -> None:
        io.write_jsonl(ctx.output("records.jsonl"), records)
        ctx.keep(len(records))

    config = RunConfig(name="t", runs_dir=str(tmp_path), instructions=InstructionsConfig(**options))
    execute(Stage("records", (), (), write), config, is_forced=True)
    stage = Stage("instructions", ("instructions",), ("records",), build.run, build.inputs)
    manifest, _ = execute(stage, config, is_forced=is_forced)
    return manifest, list(io.read_jsonl(config.run_dir / "instructions" / "instructions.jsonl", Instruction))


def dropped(tmp_path: Path) -> list[tuple[str, str]]:
    rows = io.read_json_lines(tmp_path / "t" / "instructions" / "dropped.jsonl")
    return [(row["id"], row["reason"]) for _, row in rows]


def test_a_full_record_gives_one_instruction_a_task_in_the_order_of_the_tasks(tmp_path: Path) -> None:
    manifest, rows = run(tmp_path, [record_of(0)])
    assert [row.task for row in rows] == list(TASK_NAMES)
    assert (manifest.n_in, manifest.n_kept) == (6, 6)
    assert {row.task: row.response for row in rows} == {
        "triage": "普通外科",
        "record": "主诉：右上腹痛1天\n现病史：1天前进食后右上腹痛，无发热",
        "examination": "血常规、腹部超声",
        "diagnosis": "急性胆囊炎",
        "basis": "诊断依据：右上腹痛1天，右上腹压痛",
        "treatment": "禁食补液，予头孢曲松2g静滴。",
    }
    assert {row.disease for row in rows} == {"急性胆囊炎"}
    assert all(row.is_synthetic and row.source == "test" and row.language == "zh" for row in rows)


def test_the_tasks_of_a_record_share_the_trunk_and_the_system_prompt(tmp_path: Path) -> None:
    _, rows = run(tmp_path, [record_of(0)], instruction_first_frac=0.0)
    users = {row.task: row.prompt[1].content for row in rows}
    trunks = [users[task].rsplit("\n\n", 1)[0] for task in ("triage", "examination", "diagnosis", "basis")]
    assert all(longer.startswith(shorter) for shorter, longer in pairwise(trunks))
    assert users["basis"].rsplit("\n\n", 1)[0] == users["treatment"].rsplit("\n\n", 1)[0]
    assert len({row.prompt[0].content for row in rows}) == 1
    assert [message.role for message in rows[0].prompt] == ["system", "user"]


def test_no_prompt_holds_what_came_later(tmp_path: Path) -> None:
    _, rows = run(tmp_path, [record_of(0)])
    later = {
        "triage": ("普通外科", "压痛"),
        "record": ("压痛", "胆囊", "住院"),
        "examination": ("超声", "胆囊"),
        "diagnosis": ("胆囊炎", "头孢"),
        "basis": ("头孢", "结石"),
        "treatment": ("头孢", "结石", "出院"),
    }
    for row in rows:
        assert not [word for word in later[row.task] if word in row.prompt[1].content]


def test_the_instruction_stands_first_in_the_share_asked_for(tmp_path: Path) -> None:
    _, rows = run(tmp_path, [record_of(i) for i in range(50)], instruction_first_frac=0.1)
    share = sum(row.instruction_first for row in rows) / len(rows)
    assert 0.05 < share < 0.15  # 300 draws at 0.1: three standard deviations
    for row in rows:
        assert row.template_id.endswith("/first") == row.instruction_first
        is_record_first = row.prompt[1].content.startswith(("【一般资料】女", "医生："))
        assert is_record_first != row.instruction_first
    _, rows = run(tmp_path / "all", [record_of(0)], instruction_first_frac=1.0)
    assert all(row.instruction_first for row in rows)


def test_every_wording_is_used(tmp_path: Path) -> None:
    _, rows = run(tmp_path, [record_of(i) for i in range(50)], tasks=("triage",), instruction_first_frac=0.0)
    assert len({row.template_id for row in rows}) == 5
    assert rows[0].template_id.startswith("triage/zh/")


def test_two_runs_write_the_same_bytes_and_another_record_changes_no_other(tmp_path: Path) -> None:
    output = tmp_path / "t" / "instructions" / "instructions.jsonl"
    run(tmp_path, [record_of(0), record_of(1)])
    first = output.read_bytes()
    run(tmp_path, [record_of(0), record_of(1)], is_forced=True)
    assert output.read_bytes() == first
    run(tmp_path, [record_of(0)])
    assert first.startswith(output.read_bytes())


def test_what_a_record_lacks_is_dropped_with_its_reason_and_counted(tmp_path: Path) -> None:
    bare = record_of(0, sections=((K.CHIEF_COMPLAINT, "腹痛"), (K.DEPARTMENT, "内科")), talk=())
    manifest, rows = run(tmp_path, [bare])
    assert [row.task for row in rows] == ["triage"]
    assert dropped(tmp_path) == [
        ("r0/record", "no_dialogue"),
        ("r0/examination", "no_answer_event"),
        ("r0/diagnosis", "no_answer_event"),
        ("r0/basis", "no_answer_event"),
        ("r0/treatment", "no_answer_event"),
    ]
    assert manifest.n_in == manifest.n_kept + sum(manifest.n_dropped.values()) == 6
    assert manifest.facts["dropped"]["basis"] == {"no_answer_event": 1}


def test_an_answer_that_nothing_visible_leads_to_is_dropped(tmp_path: Path) -> None:
    blind = record_of(1, sections=((K.DEMOGRAPHICS, "女"), (K.INITIAL_DIAGNOSIS, "肺炎")), talk=())
    manifest, _ = run(tmp_path, [record_of(0), blind], tasks=("diagnosis",))
    assert manifest.n_dropped == {"nothing_visible": 1}


def test_a_target_with_too_many_inventions_is_dropped_and_the_rates_are_told(tmp_path: Path) -> None:
    invented = record_of(1, sections=(*FULL[:8], (K.BASIS, "体温39.9℃，血压70/40，血糖30，尿酸900")), talk=())
    manifest, rows = run(tmp_path, [record_of(0), invented], tasks=("basis",), max_unsupported=3)
    assert dropped(tmp_path) == [("r1/basis", "unsupported_target")]
    rate = manifest.facts["unsupported_rate"]["basis"]
    assert (rate["before"]["targets_frac"], rate["before"]["facts_per_target"]) == (0.5, 2.0)  # 0 and 4 facts
    assert rate["after"]["targets_frac"] == 0.0
    _, rows = run(tmp_path, [record_of(0), invented], tasks=("basis",), max_unsupported=4)
    assert [row.unsupported for row in rows] == [(), ("number",)]


def test_new_drugs_and_doses_are_the_point_of_a_plan(tmp_path: Path) -> None:
    plan = "予头孢曲松2g、奥美拉唑40mg、布洛芬0.3g、甲硝唑0.5g静滴，每日2次。"
    _, rows = run(tmp_path, [record_of(0, sections=(*FULL[:8], (K.TREATMENT, plan)))], tasks=("treatment",))
    assert rows[0].response == plan
    assert rows[0].unsupported == ("number", "drug")  # told all the same


def test_a_long_dialogue_loses_its_oldest_turns_for_all_tasks_alike(tmp_path: Path) -> None:
    talk = [("patient", f"第{i}句：" + "腹部不舒服" * 10) for i in range(10)]
    sections = ((K.FINAL_DIAGNOSIS, "胃炎"), (K.TREATMENT, "口服奥美拉唑"))
    manifest, rows = run(
        tmp_path,
        [record_of(0, sections, talk)],
        tasks=("diagnosis", "treatment"),
        max_record_chars=200,
        instruction_first_frac=0.0,
    )
    trunks = {row.prompt[1].content.rsplit("\n\n", 1)[0] for row in rows}
    assert len(trunks) == 1
    trunk = trunks.pop()
    assert len(trunk) <= 200
    assert "第9句" in trunk
    assert "第0句" not in trunk
    assert manifest.facts["truncated_frac"] == 1.0


def test_a_record_of_sections_that_are_too_long_is_dropped_not_cut(tmp_path: Path) -> None:
    long = record_of(1, sections=(*FULL[:3], (K.PRESENT_ILLNESS, "腹痛，" * 100), *FULL[4:]))
    manifest, rows = run(tmp_path, [record_of(0), long], max_record_chars=200)
    assert {row.record_id for row in rows} == {"r0"}
    assert manifest.n_dropped == {"record_too_long": 6}


@pytest.mark.parametrize(
    ("options", "reason"),
    [({"max_response_chars": 10}, "answer_too_long"), ({"min_response_chars": 6}, "answer_too_short")],
)
def test_answers_out_of_bounds_are_dropped(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    manifest, rows = run(tmp_path, [record_of(0)], **options)
    assert manifest.n_dropped[reason] == 6 - len(rows) > 0


def test_stated_answers_are_labelled(tmp_path: Path) -> None:
    known = record_of(1, sections=(*FULL[:4], (K.PAST_HISTORY, "既往急性胆囊炎"), *FULL[4:]))
    manifest, rows = run(tmp_path, [record_of(0), known], tasks=("diagnosis",))
    assert [row.is_stated for row in rows] == [False, True]
    assert manifest.facts["n_stated"] == {"diagnosis": 1}


def test_the_facts_say_what_was_made_and_what_was_cut(tmp_path: Path) -> None:
    manifest, _ = run(tmp_path, [record_of(0), record_of(1)])
    facts = manifest.facts
    assert facts["per_task"]["triage"] == {"test": 2}
    assert facts["per_source"] == {"test": 12}
    assert facts["n_future_sentences_removed"] == 2
    assert facts["n_turns_cut"] == {"asserting": 2}


def test_a_change_of_a_task_file_makes_the_stage_run_again(tmp_path: Path) -> None:
    own = tmp_path / "tasks"
    own.mkdir()
    text = (Path(build.__file__).parent / "tasks" / "triage.toml").read_text(encoding="utf-8")
    (own / "triage.toml").write_text(text, encoding="utf-8")
    before, _ = run(tmp_path, [record_of(0)], tasks_dir=str(own))
    (own / "triage.toml").write_text(text.replace("挂哪个科", "看哪个科"), encoding="utf-8")
    after, _ = run(tmp_path, [record_of(0)], tasks_dir=str(own))
    assert before.key != after.key


def test_wrong_tasks_and_empty_results_are_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown task 'triaje'"):
        run(tmp_path, [record_of(0)], tasks=("triaje",))
    with pytest.raises(DataError, match="kept nothing of 1 rows"):
        run(tmp_path, [record_of(0, sections=FULL[:1], talk=())], tasks=("basis",))
    with pytest.raises(DataError, match="dropped 5 of 6"):
        run(tmp_path, [record_of(0, sections=FULL[:3], talk=())], max_drop_frac=0.5)
