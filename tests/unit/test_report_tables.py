"""The words, the opening sentence and the terminal tables of the report."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from iimedgpt import io
from iimedgpt.errors import DataError
from iimedgpt.manifest import Manifest
from iimedgpt.report.answer import answer
from iimedgpt.report.facts import Cell, RunFacts, parse_main_table
from iimedgpt.report.measures import interval, number
from iimedgpt.report.table import main_table, show_run
from iimedgpt.report.words import WORDS, Words
from iimedgpt.types import Score


def printed(renderable: RenderableType, width: int = 160) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()


def line_of(text: str, start: str) -> list[str]:
    """The words of the line that starts with a word."""
    return next(line.split() for line in text.splitlines() if line.startswith(start))


def complete(run_dir: Path, stage: str, **changes: Any) -> None:
    fields: dict[str, Any] = {
        "stage": stage, "key": "0123456789abcdef", "config": {}, "config_hash": "fedcba9876543210", "inputs": {},
        "outputs": {}, "n_in": 1_005, "n_kept": 1_000, "n_dropped": {"too_short": 1, "no_diagnosis": 4}, "facts": {},
        "seed": 0, "device": "cpu", "git_commit": None, "versions": {}, "started_at": "", "seconds": 12.34,
    }  # fmt: skip
    io.write_json(run_dir / stage / "manifest.json", Manifest(**fields | changes).model_dump(mode="json"))


def test_a_complete_stage_shows_counts_reasons_seconds_and_short_hashes(tmp_path: Path) -> None:
    complete(tmp_path, "records")
    shown = printed(show_run(tmp_path))
    assert line_of(shown, "records") == ["records", "complete", "1,005", "1,000", "5", "12.3", "fedcba98", "01234567"]
    assert "records: no_diagnosis 4, too_short 1" in shown


def test_a_table_of_a_whole_run_fits_eighty_columns(tmp_path: Path) -> None:
    for stage in ("records", "instructions", "evaluate"):
        complete(tmp_path, stage, n_dropped={})
    lines = printed(show_run(tmp_path), width=80).splitlines()
    assert line_of("\n".join(lines), "instructions")[-1] == "01234567"
    assert not any("…" in line for line in lines)


def test_stages_stand_in_the_order_of_the_chain(tmp_path: Path) -> None:
    for stage in ("dpo", "records", "sft"):
        complete(tmp_path, stage)
    lines = printed(show_run(tmp_path)).splitlines()
    stages = [line.split()[0] for line in lines[2:11]]
    assert stages == ["records", "instructions", "mixture", "sft", "sample", "pairs", "dpo", "evaluate", "report"]


def test_a_folder_without_a_manifest_is_incomplete_and_says_how_to_go_on(tmp_path: Path) -> None:
    complete(tmp_path, "records")
    (tmp_path / "sft/checkpoints/checkpoint-50").mkdir(parents=True)
    shown = printed(show_run(tmp_path))
    assert line_of(shown, "sft")[:2] == ["sft", "incomplete"]
    assert "iimedgpt sft RUN.toml goes on from what is kept" in shown


def test_an_interrupted_stage_with_nothing_kept_is_done_again(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    assert "iimedgpt records RUN.toml does it again" in printed(show_run(tmp_path))


def test_a_damaged_manifest_is_incomplete_and_no_crash(tmp_path: Path) -> None:
    io.write_text(tmp_path / "records/manifest.json", "{")
    assert line_of(printed(show_run(tmp_path)), "records")[1] == "incomplete"


def test_a_stage_whose_output_was_removed_is_incomplete(tmp_path: Path) -> None:
    complete(tmp_path, "records", outputs={"records.jsonl": "0" * 64})
    assert line_of(printed(show_run(tmp_path)), "records")[1] == "incomplete"


def test_what_comes_next_is_said_where_nothing_was_interrupted(tmp_path: Path) -> None:
    complete(tmp_path, "records")
    shown = printed(show_run(tmp_path))
    assert line_of(shown, "instructions")[1:3] == ["not", "run"]
    assert "next: iimedgpt instructions RUN.toml" in shown


def test_a_missing_run_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        show_run(tmp_path / "nothing")
    assert caught.value.hint is not None


def test_square_brackets_in_reasons_are_not_markup(tmp_path: Path) -> None:
    complete(tmp_path, "records", n_dropped={"[bold]": 5})
    assert "records: [bold] 5" in printed(show_run(tmp_path))


def test_the_main_table_has_a_row_a_measure_and_a_column_a_model() -> None:
    facts = {
        "main_table": [
            {"model": "base", "loss": {"value": 2.5, "low": 2.25, "high": 2.75, "n": 40}},
            {"model": "sft", "loss": {"value": 1.5, "low": 1.25, "high": 1.75, "n": 40}},
            {"model": "sft+dpo", "loss": None},
        ]
    }
    shown = printed(main_table(facts))
    expected = "Held-out loss lower 2.500 [2.250,2.750] 1.500 [1.250,1.750] — 40"
    assert line_of(shown, "Held-out") == expected.split()


def test_an_interval_is_never_torn_apart_by_a_narrow_terminal() -> None:
    cell = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 40}
    facts = {
        "main_table": [{"model": model, "preference_accuracy_per_token": cell} for model in ("base", "sft", "sft+dpo")]
    }
    shown = printed(main_table(facts), width=72)
    assert shown.count("[25.0,75.0]") == 3


@pytest.mark.parametrize("facts", [{}, {"main_table": None}, {"main_table": {}}, {"main_table": [None, 1]}])
def test_a_main_table_without_numbers_is_dashes(facts: dict[str, Any]) -> None:
    shown = printed(main_table(facts))
    assert line_of(shown, "Choice")[-4:] == ["—"] * 4
    assert "nan" not in shown


def test_the_three_shapes_of_the_main_table_say_the_same() -> None:
    cell = {"value": 0.5, "low": 0.25, "high": 0.75, "n": 8}
    expected = {"sft": {"rouge_l": Cell(0.5, 0.25, 0.75, 8)}}
    assert parse_main_table({"main_table": {"sft": {"rouge_l": cell}}}) == expected
    assert parse_main_table({"main_table": {"rouge_l": {"sft": cell}}}) == expected
    assert parse_main_table({"main_table": [{"model": "sft", "rouge_l": cell}]}) == expected


def test_what_stands_beside_the_numbers_is_no_measure() -> None:
    row = {
        "model": "sft",
        "loss": {"value": 1.0},
        "vs_base": {"win": 3, "tie": 1},
        "loss_best_control": {"name": "control:nearest", "value": 2.0},
    }
    assert parse_main_table({"main_table": [row]}) == {"sft": {"loss": Cell(1.0)}}


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "1.0", True])
def test_what_is_no_number_is_missing(value: object) -> None:
    assert parse_main_table({"main_table": {"sft": {"loss": {"value": value, "n": 3}}}})["sft"]["loss"].value is None


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [
        (1.23456, "loss", "1.235"),
        (0.6667, "choice_accuracy", "66.7 %"),
        (-0.051, "choice_accuracy_minus_best_control", "−5.1 pp"),
        (0.25, "loss_minus_control", "+0.250"),
        (-0.0001, "loss_minus_control", "0.000"),
        (41.6, "answer_chars", "42"),
        (None, "loss", "—"),
    ],
)
def test_numbers_are_written_in_the_unit_of_their_measure(value: float | None, metric: str, text: str) -> None:
    assert number(value, metric) == text


def test_half_an_interval_is_not_shown() -> None:
    assert interval(Cell(0.5, 0.4, None)) == ""
    assert interval(Cell(0.5, 0.4, 0.6), "choice_accuracy") == "[40.0, 60.0]"


def test_every_word_is_there_in_both_languages() -> None:
    assert all(english.strip() and chinese.strip() for english, chinese in WORDS.values())


def table(before: Cell, after: Cell) -> dict[str, dict[str, Cell]]:
    return {"base": {"loss": before}, "sft": {"loss": after}}


def paired(value: float, low: float, high: float) -> RunFacts:
    score = Score(
        name="loss_sft_minus_base", value=value, unit="nats", n=9, ci_low=low, ci_high=high,
        method="paired difference to base, on items both have", model="sft",
    )  # fmt: skip
    return RunFacts(scores=[score])


def test_a_clear_gain_is_claimed() -> None:
    said = answer(Words("en"), table(Cell(2.0), Cell(1.5)), paired(-0.5, -0.6, -0.4), 42)
    assert said.startswith(
        "On 42 held-out patients, SFT lowered held-out loss from 2.000 to 1.500 "
        "(95 % interval of the difference [−0.600, −0.400]);"
    )


def test_a_clear_loss_is_called_worse() -> None:
    said = answer(Words("en"), table(Cell(1.5), Cell(2.0)), paired(0.5, 0.4, 0.6), 42)
    assert "SFT raised held-out loss from 1.500 to 2.000" in said
    assert "which is worse" in said


def test_a_difference_whose_interval_holds_zero_is_no_gain() -> None:
    said = answer(Words("en"), table(Cell(2.0), Cell(1.9)), paired(-0.1, -0.3, 0.1), 1)
    assert said.startswith("On 1 held-out patient, SFT left held-out loss at 1.900 after 2.000 (no clear change")
    assert "lowered" not in said
    assert "includes zero" in said


def test_without_any_interval_nothing_is_claimed() -> None:
    said = answer(Words("en"), table(Cell(2.0), Cell(1.0)), RunFacts(), None)
    assert said.startswith("On held-out patients, SFT left held-out loss at 1.000 after 2.000 (no interval")


def test_a_step_that_was_not_measured_is_said_to_be_so() -> None:
    assert "what DPO did to preference accuracy was not measured" in answer(Words("en"), {}, RunFacts(), 3)
    assert "DPO 对偏好准确率的影响没有测得" in answer(Words("zh"), {}, RunFacts(), 3)


def test_chinese_says_the_same_as_english() -> None:
    clear = answer(Words("zh"), table(Cell(2.0), Cell(1.5)), paired(-0.5, -0.6, -0.4), 42)
    assert clear.startswith("在 42 名留出患者上，SFT 使留出损失由 2.000 降低到 1.500")
    unclear = answer(Words("zh"), table(Cell(2.0), Cell(1.9)), paired(-0.1, -0.3, 0.1), 42)
    assert "变化不明确" in unclear
    assert "降低" not in unclear
