"""Tables through the records stage and its preview: everything counted and located, no identifier anywhere."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from iimedgpt import io
from iimedgpt.config import RunConfig
from iimedgpt.errors import DataError
from iimedgpt.manifest import Manifest
from iimedgpt.records import build
from iimedgpt.records.preview import preview, render
from iimedgpt.run import Stage, execute
from iimedgpt.types import Record

STAGE = Stage("records", ("records",), (), build.run, build.inputs)
CANARIES = ("甄测试", "13812345678", "110101199003074514", "ZY0012345")
HEADER = "病人号,住院号,姓名,记录时间,主诉,现病史,甄测试,电话13812345678\n"
MAPPING = {
    "patient": "病人号",
    "encounter": "住院号",
    "time": "记录时间",
    "identifiers": {"姓名": "name"},
    "sections": {"主诉": "chief_complaint", "现病史": "present_illness"},
}


@pytest.fixture(autouse=True)
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "elsewhere" / "secret"
    monkeypatch.setenv("IIMEDGPT_SECRET_FILE", str(path))
    return path


def row(patient: str, visit: str, day: str, complaint: str = "咳嗽3天") -> str:
    text = "甄测试3天前咳嗽，电话13812345678，身份证110101199003074514，住院号ZY0012345"
    return f"{patient},{visit},甄测试,2024-03-{day} 08:00,{complaint},{text},x,y\n"


def config(tmp_path: Path, lines: str, **source: Any) -> RunConfig:
    folder = tmp_path / "data" / "export"
    folder.mkdir(parents=True)
    (folder / "甄测试_110101199003074514.csv").write_text(HEADER + lines, encoding="gb18030")
    given = {"reader": "table", "path": "export", "mapping": MAPPING, **source}
    return RunConfig.model_validate(
        {
            "name": "t",
            "runs_dir": str(tmp_path / "runs"),
            "data_dir": str(tmp_path / "data"),
            "records": {"sources": [given], "max_drop_frac": 0.9},
        }
    )


LINES = (
    row("ZY0012345", "A", "05")
    + "2,B,只有三个\n"
    + row("ZY0012345", "A", "06", "气促")
    + row("", "C", "05")
    + row("ZY0012345", "D", "15")
)


def run(run_config: RunConfig) -> tuple[Manifest, list[Record]]:
    manifest, _ = execute(STAGE, run_config, is_forced=True)
    return manifest, list(io.read_jsonl(run_config.run_dir / "records" / "records.jsonl", Record))


def test_every_row_is_a_record_a_part_of_one_or_rejected_with_its_line(tmp_path: Path) -> None:
    run_config = config(tmp_path, LINES)
    manifest, records = run(run_config)
    assert (manifest.n_in, manifest.n_kept) == (4, 2)
    assert manifest.n_dropped == {"no_patient_id": 1, "ragged_row": 1}
    ledger = [json.loads(line) for line in (run_config.run_dir / "records" / "dropped.jsonl").read_text().splitlines()]
    assert {drop["id"] for drop in ledger} == {"table:file-00001.csv:3", "table:file-00001.csv:5"}
    counts = manifest.facts["reading"]["table"]
    # 5 rows = 2 records + 1 merged into one of them + 2 rejected
    assert (counts["rows"], counts["merged_rows"]) == (5, 1)
    assert (counts["unmapped_columns"], counts["unmapped: column 7"], counts["unmapped: column 8"]) == (2, 1, 1)
    assert [event.time for event in records[0].events] == [0, 0, 24 * 60, 24 * 60][: len(records[0].events)]


def test_encounters_of_a_patient_keep_their_distance_and_hide_their_days(tmp_path: Path) -> None:
    from datetime import datetime

    _, records = run(config(tmp_path, LINES))
    starts = [datetime.fromisoformat(record.started or "") for record in records]
    assert (starts[1] - starts[0]).days == 10
    assert starts[0] != datetime(2024, 3, 5, 8)
    assert records[0].patient_id == records[1].patient_id


def test_no_identifier_of_cells_columns_or_file_names_is_written_or_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    run_config = config(tmp_path, LINES)
    with caplog.at_level(logging.DEBUG):
        run(run_config)
    written = "".join(path.read_text("utf-8") for path in run_config.run_dir.rglob("*") if path.is_file())
    names = "".join(str(path) for path in run_config.run_dir.rglob("*"))
    told = caplog.text + "".join(capsys.readouterr())
    assert "column 7" in told
    for canary in CANARIES:
        assert canary not in written + names + told


def test_errors_tell_no_identifier_of_columns_or_file_names(tmp_path: Path) -> None:
    absent = {**MAPPING, "sections": {"主诉": "chief_complaint", "查体": "physical_examination"}}
    with pytest.raises(DataError) as caught:
        run(config(tmp_path, LINES, mapping=absent))
    message = f"{caught.value} {caught.value.hint}"
    assert "export/file-00001.csv:1: field '查体'" in message
    assert "病人号" in message  # named in the mapping
    for canary in CANARIES:
        assert canary not in message


class TestPreview:
    def test_it_shows_deidentified_records_rejections_and_unmapped_columns(self, tmp_path: Path) -> None:
        (shown,) = preview(config(tmp_path, LINES), 5)
        text = "\n".join(render(shown))
        assert "chief_complaint +0 min: 咳嗽3天" in text
        assert "[姓名]3天前咳嗽，电话[电话]" in text
        assert "rejected file-00001.csv:3: ragged_row" in text
        assert "unmapped columns: column 7, column 8" in text
        for canary in CANARIES:
            assert canary not in text

    def test_nothing_is_written_not_even_the_secret(self, tmp_path: Path, secret: Path) -> None:
        run_config = config(tmp_path, LINES)
        before = sorted(tmp_path.rglob("*"))
        list(preview(run_config, 2))
        assert sorted(tmp_path.rglob("*")) == before
        assert not secret.exists()

    def test_it_reads_only_the_first_rows(self, tmp_path: Path) -> None:
        (shown,) = preview(config(tmp_path, "".join(row(str(i), str(i), "05") for i in range(1_000))), 2)
        assert len(shown.records) == 2
        assert shown.counts["rows"] <= 100

    def test_control_characters_of_a_record_do_not_reach_the_terminal(self, tmp_path: Path) -> None:
        (shown,) = preview(config(tmp_path, row("1", "A", "05", "咳\x1b[31m嗽")), 1)
        assert "\x1b" not in "\n".join(render(shown))
