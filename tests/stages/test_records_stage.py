"""The records stage: files in, de-identified records out, every row accounted for."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from iimedgpt import io
from iimedgpt.config import RecordsConfig, RecordSource, RunConfig
from iimedgpt.errors import DataError
from iimedgpt.manifest import Manifest
from iimedgpt.records import build
from iimedgpt.records.deid import Deidentifier
from iimedgpt.run import Stage, execute
from iimedgpt.types import Record

STAGE = Stage("records", ("records",), (), build.run, build.inputs)
CANARIES = ("甄测试", "13800000000", "110101199003074514", "ZY000123")


@pytest.fixture(autouse=True)
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "elsewhere" / "secret"
    monkeypatch.setenv("IIMEDGPT_SECRET_FILE", str(path))
    return path


def line(patient: str, complaint: str = "咳嗽3天") -> dict[str, Any]:
    return {
        "patient_id": patient,
        "identifiers": {"name": ["甄测试"]},
        "sections": {
            "主诉": complaint,
            "现病史": "甄测试3天前咳嗽，电话13800000000，身份证110101199003074514，住院号ZY000123，血压120/80mmHg",
            "诊断结果": "支气管炎",
        },
    }


def config(tmp_path: Path, rows: list[dict[str, Any]], **records: Any) -> RunConfig:
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "a.jsonl").write_text(text, encoding="utf-8")
    return RunConfig(
        name="t",
        runs_dir=str(tmp_path / "runs"),
        data_dir=str(tmp_path),
        records=RecordsConfig(sources=(RecordSource(reader="jsonl", path="a.jsonl"),), **records),
    )


def execute_forced(run_config: RunConfig) -> tuple[Manifest, list[Record]]:
    manifest, _ = execute(STAGE, run_config, is_forced=True)
    return manifest, list(io.read_jsonl(run_config.run_dir / "records" / "records.jsonl", Record))


def test_records_are_written_in_order_under_ids_that_hide_the_patient(tmp_path: Path) -> None:
    manifest, records = execute_forced(config(tmp_path, [line("甲001"), line("甲002"), line("甲001", "发热1天")]))
    assert [record.events[0].text for record in records] == ["咳嗽3天", "咳嗽3天", "发热1天"]
    assert records[0].patient_id == records[2].patient_id != records[1].patient_id
    assert len({record.record_id for record in records}) == len({record.encounter_id for record in records}) == 3
    assert records[0].provenance.file == "a.jsonl"
    assert records[0].provenance.file_sha256 == io.sha256_file(tmp_path / "a.jsonl")
    assert [record.provenance.row for record in records] == [1, 2, 3]
    assert (manifest.n_in, manifest.n_kept, manifest.n_dropped) == (3, 3, {})
    assert manifest.facts["n_records"] == {"jsonl": 3}
    assert manifest.facts["n_patients"] == {"jsonl": 2}
    assert manifest.facts["n_events"] == {"chief_complaint": 3, "final_diagnosis": 3, "present_illness": 3}
    assert manifest.facts["n_deidentified"] == {"id_card": 3, "medical_number": 3, "name": 3, "phone": 3}


def test_no_identifier_reaches_any_file_of_the_run(tmp_path: Path) -> None:
    run_config = config(tmp_path, [line("甲001"), line("甲001")])
    execute_forced(run_config)
    written = "".join(path.read_text("utf-8") for path in run_config.run_dir.rglob("*") if path.is_file())
    assert "血压120/80mmHg" in written
    for canary in (*CANARIES, "甲001", str(tmp_path)):
        assert canary not in written


def test_the_same_inputs_and_secret_give_the_same_bytes(tmp_path: Path) -> None:
    run_config = config(tmp_path, [line("1"), line("2")])
    first, _ = execute_forced(run_config)
    second, _ = execute_forced(run_config)
    assert first.outputs == second.outputs


def test_another_secret_gives_other_ids_of_the_same_records(tmp_path: Path, secret: Path) -> None:
    run_config = config(tmp_path, [line("1")])
    _, before = execute_forced(run_config)
    secret.unlink()
    _, after = execute_forced(run_config)
    assert before[0].events == after[0].events
    assert before[0].record_id != after[0].record_id
    assert before[0].patient_id != after[0].patient_id


def test_a_repeated_line_is_dropped_as_a_duplicate(tmp_path: Path) -> None:
    manifest, records = execute_forced(config(tmp_path, [line("1"), line("1"), line("2")]))
    assert len(records) == 2
    assert manifest.n_dropped == {"duplicate_record": 1}


def test_unusable_rows_are_dropped_with_their_reasons(tmp_path: Path) -> None:
    empty = {"patient_id": "3", "events": [{"kind": "note", "text": " "}]}
    invisible = {"patient_id": "4", "events": [{"kind": "note", "text": "\u200b"}]}
    long = {"patient_id": "5", "sections": {"主诉": "咳" * 101}}
    run_config = config(tmp_path, [line("1"), empty, invisible, long], max_text_chars=100, max_drop_frac=0.9)
    manifest, records = execute_forced(run_config)
    assert len(records) == 1
    assert manifest.n_dropped == {"empty_record": 2, "text_too_long": 1}
    dropped = (run_config.run_dir / "records" / "dropped.jsonl").read_text()
    assert dropped.count("\n") == 3
    assert "咳咳" not in dropped


def test_a_record_whose_deidentification_fails_is_quarantined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_for_one(self: Deidentifier, patient_key: str) -> int:
        if patient_key == "1":
            raise RuntimeError("甄测试")
        return -1

    monkeypatch.setattr(Deidentifier, "shift_days", fail_for_one)
    manifest, records = execute_forced(config(tmp_path, [line("1"), line("2")]))
    assert len(records) == 1
    assert manifest.n_dropped == {"deid_failed": 1}


def test_too_many_drops_fail_the_stage_and_leave_it_incomplete(tmp_path: Path) -> None:
    run_config = config(tmp_path, [line("1")] * 4, max_drop_frac=0.5)
    with pytest.raises(DataError, match="duplicate_record: 3"):
        execute(STAGE, run_config)
    assert not (run_config.run_dir / "records" / "manifest.json").exists()


def test_inputs_name_every_file_by_source_and_relative_path(tmp_path: Path) -> None:
    run_config = config(tmp_path, [line("1")])
    assert build.inputs(run_config) == {"jsonl:a.jsonl": tmp_path / "a.jsonl"}


def test_two_sources_of_one_reader_keep_their_inputs_apart(tmp_path: Path) -> None:
    for folder in ("north", "south"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jsonl").write_text(json.dumps(line(folder)))
    sources = tuple(RecordSource(reader="jsonl", path=f"{folder}/a.jsonl") for folder in ("north", "south"))
    run_config = RunConfig(
        name="t", runs_dir=str(tmp_path / "runs"), data_dir=str(tmp_path), records=RecordsConfig(sources=sources)
    )
    assert len(build.inputs(run_config)) == 2
    assert execute_forced(run_config)[0].facts["n_records"] == {"jsonl": 2}


@pytest.mark.skipif(find_spec("iimedgpt.records.synthetic") is None, reason="no synthetic generator in this build")
def test_the_synthetic_generator_reads_no_file_and_is_marked(tmp_path: Path) -> None:
    run_config = RunConfig(
        name="t",
        runs_dir=str(tmp_path / "runs"),
        records=RecordsConfig(sources=(RecordSource(reader="synthetic", n_max=20),)),
    )
    assert build.inputs(run_config) == {}
    manifest, records = execute_forced(run_config)
    assert manifest.n_kept == len(records) == 20
    assert all(record.provenance.is_synthetic for record in records)
