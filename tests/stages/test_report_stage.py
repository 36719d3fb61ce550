"""Stage report on a small run written by hand: offline, inert, repeatable, honest about what is missing."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2", reason="needs the extra 'report'")
pytest.importorskip("matplotlib", reason="needs the extra 'report'")

from iimedgpt import io
from iimedgpt.config import ReportConfig, RunConfig
from iimedgpt.manifest import Manifest
from iimedgpt.report import report
from iimedgpt.run import Stage, StageContext
from iimedgpt.types import (
    Conversation,
    Event,
    EventKind,
    Instruction,
    Judgement,
    Message,
    PreferencePair,
    Provenance,
    Record,
    Score,
    Verdict,
)

NEEDS = ("records", "instructions", "mixture", "sft", "sample", "pairs", "dpo", "evaluate")
TASKS = ("triage", "record", "examination", "diagnosis", "basis", "treatment")
SECRET_TEXT = "王某某反复胸闷三天"  # stands in for the text of a real record
MAIN_TABLE = {
    "base": {
        "loss": {"value": 2.4, "low": 2.3, "high": 2.5, "n": 60},
        "preference_accuracy_sum": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 40},
    },
    "sft": {
        "loss": {"value": 1.5, "low": 1.4, "high": 1.6, "n": 60},
        "preference_accuracy_sum": {"value": 0.6, "low": 0.5, "high": 0.7, "n": 40},
    },
    "sft+dpo": {
        "loss": {"value": 1.6, "low": 1.5, "high": 1.7, "n": 60},
        "preference_accuracy_sum": {"value": 0.65, "low": 0.55, "high": 0.75, "n": 40},
    },
}


def write_manifest(run_dir: Path, stage: str, facts: dict[str, Any] | None = None, n_kept: int = 12) -> None:
    manifest = Manifest(
        stage=stage,
        key="0123456789abcdef",
        config={"seed": 0, "model": {"name": "tiny"}, "sft": {"rank": 16}, "dpo": {"beta": 0.1}},
        config_hash="fedcba9876543210",
        inputs={},
        outputs={},
        n_in=n_kept + 3,
        n_kept=n_kept,
        n_dropped={"answer_too_long": 2, "no_diagnosis": 1},
        facts=facts or {},
        seed=0,
        device="cpu",
        git_commit=None,
        versions={},
        started_at="2026-01-01T00:00:00Z",
        seconds=1.5,
    )
    io.write_json(run_dir / stage / "manifest.json", manifest.model_dump(mode="json"))


def records(*, is_synthetic: bool, n: int = 12) -> list[Record]:
    made = Provenance(
        reader="synthetic" if is_synthetic else "jsonl",
        file="records",
        file_sha256="0" * 64,
        row=0,
        is_synthetic=is_synthetic,
        caveats=() if is_synthetic else ("dialogue simulated by a language model",),
    )
    event = Event(kind=EventKind.CHIEF_COMPLAINT, text=SECRET_TEXT)
    return [
        Record(
            record_id=f"r{i}",
            patient_id=f"p{i}",
            encounter_id=f"e{i}",
            source="ward",
            language="zh",
            events=(event,),
            provenance=made,
        )
        for i in range(n)
    ]


def conversations(*, is_synthetic: bool, split: Any, start: int, n: int) -> list[Conversation]:
    prompt = f"【主诉】{SECRET_TEXT}\n【查体】体温 36.8 ℃，心率 96 次/分\n\n请给出初步诊断。"
    rows = [
        Conversation(
            conversation_id=f"{split}-{i}-{task}",
            messages=(
                Message(role="system", content="你是一名严谨的临床助手，只依据已知病历作答。"),
                Message(role="user", content=prompt),
                Message(role="assistant", content=f"{task}：考虑不稳定型心绞痛。"),
            ),
            group_id=f"p{i}",
            source="ward",
            license="unstated",
            split=split,
            task=task,
            is_synthetic=is_synthetic,
        )
        for i in range(start, start + n)
        for task in TASKS
    ]
    other = rows[0].model_copy(
        update={"conversation_id": f"{split}-other", "task": None, "source": "general", "group_id": "g"}
    )
    return [*rows, other] if split == "train" else rows


def instructions(rows: list[Conversation]) -> list[Instruction]:
    return [
        Instruction(
            instruction_id=row.conversation_id,
            task=row.task or "",
            record_id="r",
            patient_id=row.group_id,
            source=row.source,
            language="zh",
            prompt=row.prompt,
            response=row.response,
            template_id=f"{row.task}-zh-1",
            unsupported=("number",) if row.task == "treatment" else (),
        )
        for row in rows
        if row.task
    ]


def scores() -> list[Score]:
    def score(name: str, model: str, task: str | None, value: float, width: float) -> Score:
        low, high = value - width, value + width
        return Score(
            name=name,
            value=value,
            unit="",
            n=60,
            ci_low=low,
            ci_high=high,
            method="mean",
            task=task,
            model=model,
        )

    rows = []
    for place, task in enumerate((*TASKS, None)):
        for gain, model in enumerate(("base", "sft", "sft+dpo")):
            rows.append(score("loss", model, task, 2.4 - 0.4 * gain + 0.1 * place, 0.1))
            rows.append(score("choice_accuracy", model, task, 0.3 + 0.2 * gain - 0.01 * place, 0.08))
            rows.append(score("unsupported_rate", model, task, 0.2 - 0.05 * gain, 0.04))
        rows.append(score("choice_accuracy", "control:majority", task, 0.4, 0.05))
        rows.append(score("choice_accuracy", "control:nearest", task, 0.45, 0.05))
        rows.append(score("loss", "control:base+2shots", task, 2.1, 0.05))
    return rows


def judgements() -> list[Judgement]:
    def one(first: str, second: str, verdict: Verdict) -> Judgement:
        return Judgement(
            prompt_id="q",
            task="diagnosis",
            model_a=first,
            model_b=second,
            criterion="overall",
            judge_id="closeness to reference",
            verdict_ab=verdict,
            verdict_ba=verdict,
            verdict=verdict,
            group_id="p",
        )

    win, tie, loss, invalid = Verdict
    return [
        *(one("sft", "base", verdict) for verdict in (win, win, win, win, win, tie, tie, loss, invalid)),
        *(one("sft", "sft+dpo", verdict) for verdict in (loss, loss, tie, win)),  # the wrong way round
        *(one("sft+dpo", "base", verdict) for verdict in (win, win, win, tie)),
    ]


def pairs(split: Any) -> list[PreferencePair]:
    prompt = (Message(role="user", content=SECRET_TEXT),)
    return [
        PreferencePair(
            pair_id=f"{split}{i}",
            prompt=prompt,
            chosen="a",
            rejected="b",
            source="rule" if error else "reference",
            group_id="p",
            split=split,
            error=error,
        )
        for i, error in enumerate(("wrong_side", "dose_times_ten", None))
    ]


def write_run(run_dir: Path, *, is_synthetic: bool = True, main_table: Any = MAIN_TABLE) -> Path:
    train = conversations(is_synthetic=is_synthetic, split="train", start=0, n=8)
    test = conversations(is_synthetic=is_synthetic, split="test", start=8, n=4)
    io.write_jsonl(run_dir / "records/records.jsonl", records(is_synthetic=is_synthetic))
    io.write_jsonl(run_dir / "instructions/instructions.jsonl", instructions([*train, *test]))
    io.write_jsonl(run_dir / "mixture/train.jsonl", train)
    io.write_jsonl(run_dir / "mixture/validation.jsonl", [])
    io.write_jsonl(run_dir / "mixture/test.jsonl", test)
    sft: list[Any] = [{"step": i, "loss": 2.5 * math.exp(-i / 20) + 1} for i in range(1, 41)]
    io.write_jsonl(
        run_dir / "sft/log.jsonl",
        [*sft, {"step": 20, "validation_loss": 2.1}, {"step": 40, "loss": math.nan}],
    )
    dpo: list[Any] = [
        {"step": i, "loss": 0.69 - i / 100, "margin": i / 50, "accuracy": 0.5 + i / 60} for i in range(1, 21)
    ]
    io.write_jsonl(run_dir / "dpo/log.jsonl", dpo)
    io.write_jsonl(run_dir / "pairs/train.jsonl", pairs("train"))
    io.write_jsonl(run_dir / "pairs/test.jsonl", pairs("test"))
    io.write_jsonl(run_dir / "evaluate/scores.jsonl", scores())
    io.write_jsonl(run_dir / "evaluate/judgements.jsonl", judgements())
    for stage in NEEDS[:-1]:
        write_manifest(run_dir, stage)
    write_manifest(run_dir, "evaluate", {"main_table": main_table, "limits": ["Four held-out patients are few."]})
    return run_dir


def make_report(run_dir: Path, **options: Any) -> StageContext:
    config = RunConfig(name=run_dir.name, report=ReportConfig(**options))
    ctx = StageContext(Stage("report", ("report",), NEEDS, report.run), config, run_dir / "report")
    report.run(ctx)
    return ctx


class References(HTMLParser):
    """Every attribute with which a page could ask for something, and every element that could run."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.elements: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.targets += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset")]


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = write_run(tmp_path_factory.mktemp("runs") / "demo")
    make_report(run_dir)
    return run_dir / "report"


def test_the_page_is_one_file_that_asks_the_network_for_nothing(synthetic: Path) -> None:
    page = (synthetic / "report.html").read_text()
    references = References()
    references.feed(page)
    assert any(not target.startswith("#") for target in references.targets)
    run_dir = synthetic.parent.resolve()
    for target in references.targets:  # places on the page, or files of the run
        file = (synthetic / target).resolve()
        assert target.startswith("#") or (file.is_relative_to(run_dir) and file.exists())
    assert not references.elements & {"script", "link", "iframe", "img", "object", "embed"}
    assert not re.search(r"@import|url\((?!#|data:font/woff;)", page)


def test_every_figure_is_inlined_and_written_beside_the_page(synthetic: Path) -> None:
    page = (synthetic / "report.html").read_text()
    names = sorted(path.stem for path in (synthetic / "figures").iterdir())
    assert names == ["ablation", "curves", "distribution", "pipeline", "verdicts"]
    assert page.count("<svg") == 5
    assert all(f"(figures/{name}.svg)" in (synthetic / "report.md").read_text() for name in names)


def test_figures_keep_their_text_as_text(synthetic: Path) -> None:
    assert ">triage</text>" in (synthetic / "figures/distribution.svg").read_text()


def test_files_are_private(synthetic: Path) -> None:
    assert {path.stat().st_mode & 0o777 for path in synthetic.rglob("*") if path.is_file()} == {0o600}


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    written = []
    for place in ("one", "two"):
        run_dir = write_run(tmp_path / place / "demo")
        make_report(run_dir)
        files = sorted((run_dir / "report").rglob("*.*"))
        written.append([(file.name, file.read_bytes()) for file in files])
    assert written[0] == written[1]


def test_the_answer_claims_what_the_intervals_allow_and_no_more(synthetic: Path) -> None:
    # loss: [1.4, 1.6] lies below [2.3, 2.5]; preference accuracy: [0.55, 0.75] overlaps [0.5, 0.7].
    answer = json.loads((synthetic / "report.json").read_text())["answer"]
    assert answer == (
        "On 4 held-out patients, SFT lowered held-out loss from 2.400 [2.300, 2.500] to 1.500 [1.400, 1.600]; "
        "DPO left preference accuracy at 65.0 % [55.0, 75.0] after 60.0 % [50.0, 70.0] (no clear change)."
    )


def test_a_paired_difference_decides_where_there_is_one(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "demo")
    paired = Score(
        name="preference_accuracy_sft+dpo_minus_sft",
        value=0.05,
        unit="share",
        n=40,
        ci_low=0.01,
        ci_high=0.09,
        method="paired difference to sft, on items both have; bootstrap",
        model="sft+dpo",
    )
    io.write_jsonl(run_dir / "evaluate/scores.jsonl", [*scores(), paired])
    answer = make_report(run_dir).facts["answer"]
    assert "DPO raised preference accuracy from 60.0 % to 65.0 % (95 % interval of the difference [1.0, 9.0])" in answer


def test_synthetic_records_are_announced_and_one_is_shown(synthetic: Path) -> None:
    page = (synthetic / "report.html").read_text()
    assert "this shows the machinery, not medicine" in page
    assert "diagnosis：考虑不稳定型心绞痛" in page


def test_text_of_real_records_stands_nowhere(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "demo", is_synthetic=False)
    make_report(run_dir)
    for path in (run_dir / "report").rglob("*.*"):
        assert SECRET_TEXT not in path.read_text(), path.name
        assert "心绞痛" not in path.read_text(), path.name
    page = (run_dir / "report/report.html").read_text()
    assert "dialogue simulated by a language model" in page
    assert "not medicine" not in page
    assert "diagnosis-zh-1" in page


def test_markup_in_a_title_is_inert(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "demo")
    make_report(run_dir, title="<script>alert(1)</script>|[x](http://a)")
    page = (run_dir / "report/report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    markdown = (run_dir / "report/report.md").read_text()
    assert "<script" not in markdown
    assert not re.search(r"(?<!\\)\]\(http", markdown)


def test_missing_facts_are_dashes(tmp_path: Path) -> None:
    table = {"base": {"loss": {"value": None}}, "sft": {"loss": {"value": math.nan, "low": 1, "high": 2}}}
    run_dir = write_run(tmp_path / "demo", main_table=table)
    io.write_jsonl(run_dir / "evaluate/scores.jsonl", [])
    make_report(run_dir)
    made = json.loads((run_dir / "report/report.json").read_text())
    assert made["tables"]["main"]["rows"][0][2:] == ["—", "—", "—", "—"]
    assert "not measured" in made["answer"]
    everything = "".join(path.read_text() for path in (run_dir / "report").glob("report.*"))
    assert not re.search(r"\bnan\b", everything, re.IGNORECASE)


def test_a_run_with_nothing_but_manifests_still_has_a_report(tmp_path: Path) -> None:
    run_dir = tmp_path / "demo"
    for stage in NEEDS:
        write_manifest(run_dir, stage)
    make_report(run_dir)
    page = (run_dir / "report/report.html").read_text()
    assert "Not available" in page
    assert [path.stem for path in (run_dir / "report/figures").iterdir()] == ["pipeline"]


def test_a_figure_of_an_earlier_run_does_not_stay(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "demo")
    make_report(run_dir)
    io.write_jsonl(run_dir / "evaluate/judgements.jsonl", [])
    make_report(run_dir)
    assert not (run_dir / "report/figures/verdicts.svg").exists()


def test_verdicts_are_counted_for_the_later_model(synthetic: Path) -> None:
    # sft against sft+dpo: loss, loss, tie, win for sft is win, win, tie, loss for sft+dpo.
    rows = json.loads((synthetic / "report.json").read_text())["tables"]["verdicts"]["rows"]
    assert rows == [
        ["SFT vs Base", "closeness to reference", "overall", "5", "2", "1", "1", "8", "9"],
        ["SFT+DPO vs Base", "closeness to reference", "overall", "3", "1", "0", "0", "4", "4"],
        ["SFT+DPO vs SFT", "closeness to reference", "overall", "2", "1", "1", "0", "4", "4"],
    ]


def test_the_best_control_is_the_one_to_beat(synthetic: Path) -> None:
    # diagnosis is the fourth task: 0.3 + 0.4 - 0.03 = 67.0 %; the nearest record has 45.0 %.
    rows = json.loads((synthetic / "report.json").read_text())["tables"]["controls"]["rows"]
    assert [
        "Choice accuracy",
        "diagnosis",
        "nearest",
        "45.0 % [40.0, 50.0]",
        "67.0 % [59.0, 75.0]",
        "+22.0 pp",
    ] in rows


def test_counts_add_up_per_task_source_and_split(synthetic: Path) -> None:
    # Eight training and four test patients with six tasks each, and one conversation of other data.
    rows = json.loads((synthetic / "report.json").read_text())["tables"]["counts"]["rows"]
    assert rows[0] == ["triage", "ward", "8", "0", "4", "12"]
    assert rows[-1] == ["Total", "", "49", "0", "24", "73"]


def test_every_table_names_the_file_its_numbers_came_from(synthetic: Path) -> None:
    tables = json.loads((synthetic / "report.json").read_text())["tables"]
    page = (synthetic / "report.html").read_text()
    assert all(table["from"] for table in tables.values())
    assert all(f"<code>{file}</code>" in page for table in tables.values() for file in table["from"])


def test_headings_speak_chinese_where_asked(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path / "demo")
    make_report(run_dir, language="zh")
    page = (run_dir / "report/report.html").read_text()
    assert '<html lang="zh">' in page
    assert "方法与局限" in page
    assert "合成病历" in page
    assert ">导诊分科</text>" in (run_dir / "report/figures/distribution.svg").read_text()


def met(model: str, other: str, **changes: Any) -> dict[str, Any]:
    row = {
        "judge": "llm", "criterion": "overall", "question_set": "CheckupQA", "model_a": model, "model_b": other,
        "wins": 3, "ties": 2, "losses": 14, "invalid": 1, "win_rate": 0.2105, "ci_low": 0.08, "ci_high": 0.37,
        "lc_win_rate": None, "lc_ci_low": None, "lc_ci_high": None, "position_consistency": 0.8, "sign_p": 0.0127,
        "mean_chars_a": 41.0, "mean_chars_b": 260.5, "flags": ["prefers_longer"],
    }  # fmt: skip
    return row | changes


def test_other_models_have_a_chapter_with_losses_invalids_and_flags(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path)
    verdicts = [met("sft+dpo", "GPT-4"), met("sft+dpo", "control:null", criterion="safety"), met("GPT-4", "DoctorGLM")]
    verdicts.append(met("sft+dpo", "sft", question_set="held_out"))
    strength = {"judge": "llm", "criterion": "overall", "question_set": "CheckupQA", "model": "GPT-4"}
    ratings = [strength | {"strength": 1.25, "ci_low": 0.4, "ci_high": 2.1, "n": 20}]
    write_manifest(run_dir, "evaluate", {"main_table": MAIN_TABLE, "verdicts": verdicts, "ratings": ratings})
    make_report(run_dir)
    svg = (run_dir / "report" / "figures" / "rivals.svg").read_text()
    assert "n = 20" in svg
    assert "GPT-4" in svg
    assert "null" not in svg  # one criterion a bar: the table holds the others
    page = (run_dir / "report" / "report.html").read_text()
    assert svg.strip() in page
    tables = json.loads((run_dir / "report" / "report.json").read_text())["tables"]
    first, second = tables["rivals"]["rows"]
    assert first[2:] == ["3", "2", "14", "1", "21.1 % [8.0, 37.0]", "—", "80.0 %", "0.013", "41 / 260"]
    assert first[1] == "CheckupQA · llm · overall ⚑ prefers_longer"
    assert "safety" in second[1]
    assert tables["ratings"]["rows"] == [["GPT-4", "CheckupQA", "llm", "overall", "+1.25 [+0.40, +2.10]", "20"]]


def test_without_other_models_there_is_no_such_chapter(synthetic: Path) -> None:
    assert 'id="rivals"' not in (synthetic / "report.html").read_text()
    assert not (synthetic / "figures" / "rivals.svg").exists()


def test_a_table_that_the_evaluation_hands_over_is_shown_as_it_is(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path)
    cell = {"value": 0.25, "unit": "share", "ci_low": 0.2, "ci_high": 0.31, "n": 200, "n_invalid": 3}
    table = {
        "name": "exams", "title_en": "Exams", "title_zh": "考试", "columns": ["CMMLU"],
        "note_en": "Said.", "note_zh": "注",
        "rows": [
            {"label": "base", "cells": [cell]},
            {"label": "chance", "cells": [None]},
            {"label": "sft", "cells": [{**cell, "n_invalid": 0, "p_holm": 0.0312}]},
        ],
    }  # fmt: skip
    write_manifest(run_dir, "evaluate", {"main_table": MAIN_TABLE, "tables": [table]})
    make_report(run_dir)
    shown = json.loads((run_dir / "report" / "report.json").read_text())["tables"]["exams"]
    assert shown["rows"] == [
        ["base", "25.0 % [20.0, 31.0] · n 200, 3 invalid"],
        ["chance", "—"],
        ["sft", "25.0 % [20.0, 31.0] · n 200, p 0.0312"],
    ]
    assert "Said." in (run_dir / "report" / "report.html").read_text()


def test_every_control_of_a_task_stands_beside_the_models(synthetic: Path) -> None:
    tables = json.loads((synthetic / "report.json").read_text())["tables"]
    table = tables["controls-choice_accuracy"]
    row = next(row for row in table["rows"] if row[0] == "diagnosis")
    shown = dict(zip(table["columns"], row, strict=True))
    assert shown["nearest"].startswith("45.0 % [40.0, 50.0] (")
    assert shown["SFT+DPO"].startswith("67.0 % [59.0, 75.0] (")
    assert table["columns"][-3:] == ["Base", "SFT", "SFT+DPO"]
    assert "controls-preference_accuracy" not in tables  # a measure without a control has no such table
