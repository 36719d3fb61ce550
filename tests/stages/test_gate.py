"""The leak gate: what still holds an identifier is quarantined, and nothing is made from records that failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from iimedgpt import chain, gate, io
from iimedgpt.config import RunConfig
from iimedgpt.errors import ConfigError, LeakGateError
from iimedgpt.export import export
from iimedgpt.records.deid import Deidentifier
from iimedgpt.records.raw import RawRecord, Scrubbed
from iimedgpt.run import execute
from iimedgpt.types import EventKind

NAME, COMPLAINT = "甄测试", "咳嗽3天，加重1天"
RECORDS, INSTRUCTIONS = chain.stage_named("records"), chain.stage_named("instructions")


@pytest.fixture(autouse=True)
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IIMEDGPT_SECRET_FILE", str(tmp_path / "elsewhere" / "secret"))


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """De-identification that overlooks the present illness."""
    whole = Deidentifier.deidentify

    def overlook(self: Deidentifier, raw: RawRecord) -> Scrubbed:
        done = whole(self, raw)
        overlooked = {event.kind: event for event in raw.events if event.kind is EventKind.PRESENT_ILLNESS}
        events = tuple(overlooked.get(event.kind, event) for event in done.events)
        return Scrubbed(events, events, done.counts, done.positions)

    monkeypatch.setattr(Deidentifier, "deidentify", overlook)


def config(tmp_path: Path, n_named: int, n_others: int, language: str = "zh", **records: Any) -> RunConfig:
    """Records whose present illness names the patient, and others in which it does not."""
    rows = [
        {
            "patient_id": str(number),
            "language": language,
            "identifiers": {"name": [NAME]},
            "sections": {
                "主诉": COMPLAINT,
                "科室": "呼吸内科",
                "现病史": f"{NAME if number < n_named else ''}咳嗽3天。",
            },
        }
        for number in range(n_named + n_others)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    source = {"reader": "jsonl", "path": "a.jsonl"}
    return RunConfig.model_validate(
        {
            "name": "t",
            "runs_dir": str(tmp_path / "runs"),
            "data_dir": str(tmp_path),
            "records": {"sources": [source], "max_drop_frac": 1.0, **records},
        }
    )


def report(run_config: RunConfig) -> dict[str, Any]:
    found: dict[str, Any] = io.read_json(run_config.run_dir / "records" / gate.REPORT)
    return found


def test_clean_records_pass_and_the_report_counts_without_text(tmp_path: Path) -> None:
    run_config = config(tmp_path, n_named=2, n_others=1)
    manifest, _ = execute(RECORDS, run_config)
    found = report(run_config)
    assert found["gate"] == {"state": "passed", "reasons": [], "warnings": []} == manifest.facts["leak_gate"]
    assert (found["n_records"], found["n_replaced"], found["n_quarantined"]) == ({"jsonl": 3}, {"name": 2}, 0)
    assert found["n_records_untouched"] == {"jsonl": 1}
    assert [(place["event"], place["start"], place["category"]) for place in found["sampled_positions"]] == [
        (2, 0, "name"),
        (2, 0, "name"),
    ]
    execute(INSTRUCTIONS, run_config)


@pytest.mark.usefixtures("blind")
def test_a_record_that_still_holds_an_identifier_is_quarantined_not_written(tmp_path: Path) -> None:
    run_config = config(tmp_path, n_named=1, n_others=3, max_leak_frac=0.3)
    manifest, _ = execute(RECORDS, run_config)
    assert manifest.n_dropped == {"leak_name": 1}
    assert manifest.n_in == 4 == manifest.n_kept + 1
    written = "".join(path.read_text("utf-8") for path in run_config.run_dir.rglob("*") if path.is_file())
    assert NAME not in written
    assert COMPLAINT in written
    assert report(run_config)["gate"]["state"] == "passed"


@pytest.mark.usefixtures("blind")
def test_too_many_of_them_fail_the_gate_and_nothing_is_made_from_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_config = config(tmp_path, n_named=1, n_others=3)
    execute(RECORDS, run_config)
    with pytest.raises(LeakGateError, match="1 of 4 records still held identifiers") as refused:
        execute(INSTRUCTIONS, run_config)
    assert 'records.accept_leaks = "t"' in str(refused.value.hint)
    monkeypatch.setattr("iimedgpt.export.is_complete", lambda *_: True)  # a mixture made before the gate failed
    with pytest.raises(LeakGateError):
        export(run_config, "trl", tmp_path / "out")
    assert not (run_config.run_dir / "instructions" / "manifest.json").exists()


@pytest.mark.usefixtures("blind")
def test_the_run_can_be_named_to_go_on_and_its_manifest_says_so(tmp_path: Path) -> None:
    run_config = config(tmp_path, n_named=1, n_others=3, accept_leaks="t")
    manifest, _ = execute(RECORDS, run_config)
    assert manifest.facts["leaks_accepted"] is True
    execute(INSTRUCTIONS, run_config)


@pytest.mark.usefixtures("blind")
def test_a_permission_copied_from_another_run_is_none(tmp_path: Path) -> None:
    run_config = config(tmp_path, n_named=1, n_others=3, accept_leaks="another")
    execute(RECORDS, run_config)
    with pytest.raises(LeakGateError):
        execute(INSTRUCTIONS, run_config)


def test_records_without_a_report_are_refused(tmp_path: Path) -> None:
    run_config = config(tmp_path, n_named=0, n_others=2)
    execute(RECORDS, run_config)
    (run_config.run_dir / "records" / gate.REPORT).unlink()
    with pytest.raises(LeakGateError, match="no report"):
        execute(INSTRUCTIONS, run_config)


def test_every_stage_after_records_is_gated() -> None:
    assert [stage.name for stage in chain.stages() if not stage.is_gated] == ["records"]


def test_a_record_that_takes_too_long_is_quarantined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def runs_away(self: Deidentifier, patient_key: str) -> int:
        while patient_key == "1":
            pass
        return -1

    monkeypatch.setattr(Deidentifier, "shift_days", runs_away)
    run_config = config(tmp_path, n_named=0, n_others=3, max_seconds=0.2)
    manifest, _ = execute(RECORDS, run_config)
    assert manifest.n_dropped == {"deid_timeout": 1}
    assert "could not be looked at" in report(run_config)["gate"]["reasons"][0]


def test_nothing_replaced_in_a_whole_source_is_a_warning(tmp_path: Path) -> None:
    run_config = config(tmp_path, n_named=0, n_others=3)
    execute(RECORDS, run_config)
    assert "nothing was replaced" in report(run_config)["gate"]["warnings"][0]


def test_english_records_need_leave(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="English"):
        execute(RECORDS, config(tmp_path, n_named=0, n_others=1, language="en"))
    execute(RECORDS, config(tmp_path, n_named=0, n_others=1, language="en", allow_english=True))


def test_the_bytes_do_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    outputs = []
    for n_workers in (1, 2):
        run_config = config(tmp_path, n_named=100, n_others=500).model_copy(update={"workers": n_workers})
        outputs.append(
            (
                execute(RECORDS, run_config, is_forced=True)[0].outputs,
                execute(INSTRUCTIONS, run_config, is_forced=True)[0].outputs,
            )
        )
    assert outputs[0] == outputs[1]
