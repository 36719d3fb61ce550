"""Identifiers planted wherever a hospital's export can hold one stand nowhere in what the program writes or says.

The real command line, over every verb that needs no model, in good runs and in errors with ``--debug``.
Everything that was written, printed or left behind is then searched for each canary in the spellings
that a leak could take: encodings, escapes, base64 at each offset, hex, and inside gzip.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.unit.tables import write_xlsx

NAME, PHONE, ID_CARD, NUMBER = "甄金丝", "13912345678", "110101199003077758", "ZY20249876"
PATIENT, OTHER_PATIENT, COLUMN, FILE = "P甄雀001", "甄鸢002", "甄雀列", "甄雀导出"
SHEET, FOLDER, PASSWORD, MAIL = "甄雀表", "甄雀夹", "jinsique-geheim", "jinsique@example.com"
CANARIES = (NAME, PHONE, ID_CARD, NUMBER, PATIENT, OTHER_PATIENT, COLUMN, FILE, SHEET, FOLDER, PASSWORD, MAIL)
TEXT = f"{NAME}3天前咳嗽，电话{PHONE}，身份证{ID_CARD}，住院号{NUMBER}，邮箱{MAIL}。血压120/80mmHg。"
SECTIONS = {
    "主诉": "咳嗽3天",
    "科室": "呼吸内科",
    "现病史": TEXT,
    "初步诊断": "急性支气管炎",
    "治疗": f"{NAME}卧床休息，多饮水。",
}


@dataclass
class Hospital:
    """A folder with the export of a hospital, and all that the program has said there."""

    folder: Path
    said: list[bytes] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def database(self) -> str:
        return f"sqlite:///{self.data / 'his.db'}"

    def __call__(self, *arguments: str, code: int | None = 0, **environment: str) -> None:
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        home = {"HOME": str(self.folder), "TMPDIR": str(temporary), "IIMEDGPT_SECRET_FILE": str(self.folder / "secret")}
        done = subprocess.run(
            [sys.executable, "-m", "iimedgpt", *arguments],
            cwd=self.folder,
            env={**os.environ, **home, "COLUMNS": "200", **environment},
            capture_output=True,
            timeout=120,
            check=False,
        )
        self.said += [done.stdout, done.stderr]
        assert code is None or done.returncode == code, (arguments, done.stderr.decode())

    def recipe(self, name: str, source: str, records: str = "") -> str:
        text = f'name = "{name}"\n[mixture]\ntest_frac = 0.34\nvalidation_frac = 0.0\n'
        text += f"[records]\n{records}\n[[records.sources]]\n{source}\n"
        (self.folder / f"{name}.toml").write_text(text, encoding="utf-8")
        return f"{name}.toml"


def rows() -> list[dict[str, object]]:
    """Three patients, every field a canary."""
    names = (PATIENT, OTHER_PATIENT, "P-3")
    given = {"name": [NAME], "phone": [PHONE], "id_card": [ID_CARD], "medical_number": [NUMBER], "email": [MAIL]}
    return [
        {"patient_id": name, "encounter_id": f"{NUMBER}-{n}", "identifiers": given, "sections": SECTIONS}
        for n, name in enumerate(names)
    ]


@pytest.fixture
def hospital(tmp_path: Path) -> Hospital:
    """The configuration names folders; what lies in them has names that give a patient away."""
    made = Hospital(tmp_path)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows()]
    _write(made.data / "good" / f"{FILE}.jsonl", "\n".join(lines))
    broken = (lines[0][:-9], json.dumps({"patient_id": NAME, COLUMN: NAME}), json.dumps({"patient_id": [NAME]}))
    for number, line in enumerate(broken):
        _write(made.data / f"broken{number}" / f"{FILE}.jsonl", line)
    header = f"患者ID,姓名,{COLUMN},病历文本"
    cells = [
        f'{name},{NAME},{NAME}{PHONE},"主诉：咳嗽3天\n现病史：{TEXT}\n初步诊断：支气管炎"' for name in (PATIENT, "P-9")
    ]
    _write(made.data / "table" / f"{FILE}.csv", "\n".join([header, *cells, f"{PATIENT},{NAME}"]), "gb18030")
    note = f"姓名：{NAME}\n主诉：咳嗽3天\n现病史：{TEXT}\n初步诊断：支气管炎"
    _write(made.data / "notes" / f"{PATIENT}_{NAME}.txt", note)
    _write(made.data / "folders" / FOLDER / "入院.txt", note)
    (made.data / "excel").mkdir()
    write_xlsx(
        made.data / "excel" / f"{FILE}.xlsx", [header.split(","), [PATIENT, NAME, PHONE, note], [PATIENT]], SHEET
    )
    with closing(sqlite3.connect(made.data / "his.db")) as database, database:
        database.execute("CREATE TABLE notes (pid TEXT, name TEXT, body TEXT)")
        database.execute("INSERT INTO notes VALUES (?, ?, ?)", (PATIENT, NAME, TEXT))
    return made


def _write(path: Path, text: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding)


def test_no_canary_is_written_printed_or_left_behind(hospital: Hospital) -> None:
    """One journey, then one search: what a leak in any step leaves is found."""
    run = hospital.recipe("whole", 'reader = "jsonl"\npath = "good"')
    hospital("validate", run, "--data", "data", "--no-measure")
    hospital("records", run, "--data", "data", "--preview", "3")
    for verb in ("records", "instructions", "mixture"):
        hospital(verb, run, "--data", "data")
    hospital("show", "runs/whole")
    hospital("export", run, "--data", "data", "--format", "trl", "--out", "exported")
    hospital("export", run, "--data", "data", "--format", "llamafactory", "--out", "factory")
    hospital("sft", run, "--data", "data", "--model", str(hospital.folder / "missing"), "--debug", code=3)
    hospital("records", run, "--data", "data", "--forget", OTHER_PATIENT)
    _read_other_forms(hospital)
    _meet_errors(hospital)
    files = [file for file in hospital.folder.rglob("*") if file.is_file() and not _is_input(file)]
    assert any(file.name == "instructions.jsonl" for file in files)
    assert b"120/80mmHg" in b"".join(file.read_bytes() for file in files)  # the search reads what it should
    found = [
        (canary, spelling, place)
        for place, content in _contents(hospital, files)
        for canary in CANARIES
        for spelling, needle in _spellings(canary)
        if needle in content
    ]
    assert found == []


def _read_other_forms(hospital: Hospital) -> None:
    """Tables, notes, a workbook and a database, previewed and read."""
    mapping = '[records.sources.mapping]\npatient = "患者ID"\nnotes = ["病历文本"]\nidentifiers = {"姓名" = "name"}'
    sql = 'reader = "table"\nformat = "sql"\nurl_env = "HIS_URL"\nquery = "SELECT pid, name, body FROM notes"\n'
    forms = {
        "table": f'reader = "table"\npath = "table"\n{mapping}',
        "excel": f'reader = "table"\npath = "excel"\n{mapping}',
        "notes": 'reader = "notes"\npath = "notes"',
        "folders": 'reader = "notes"\npath = "folders"\npatient_from = "folder"',
        "database": sql + '[records.sources.mapping]\npatient = "pid"\nnotes = ["body"]\nidentifiers = {name = "name"}',
    }
    for name, source in forms.items():
        recipe = hospital.recipe(name, source, "max_drop_frac = 1.0")
        for option in ("--preview", "--debug"):
            hospital("records", recipe, "--data", "data", option, HIS_URL=hospital.database)


def _meet_errors(hospital: Hospital) -> None:
    """Ways in which a source can be wrong, with ``--debug``."""
    for number in range(3):
        recipe = hospital.recipe(f"broken{number}", f'reader = "jsonl"\npath = "broken{number}"')
        hospital("records", recipe, "--data", "data", "--debug", code=3)
    mapping = '[records.sources.mapping]\npatient = "没有"\nnotes = ["病历文本"]'
    recipe = hospital.recipe("column", f'reader = "table"\npath = "table"\n{mapping}')
    hospital("records", recipe, "--data", "data", "--debug", code=3)
    sql = 'reader = "table"\nformat = "sql"\nurl_env = "HIS_URL"\nquery = "SELECT {}"\n[records.sources.mapping]\n'
    sql += 'patient = "pid"\nnotes = ["body"]'
    server = f"postgresql+psycopg://reader:{PASSWORD}@127.0.0.1:9/his"
    queries = {"server": ("pid FROM notes", server), "query": ("body, nothing FROM notes", hospital.database)}
    for name, (query, url) in queries.items():
        hospital("records", hospital.recipe(name, sql.format(query)), "--debug", code=3, HIS_URL=url)


def _is_input(file: Path) -> bool:
    return "data" in file.parts or file.suffix == ".toml"


def _contents(hospital: Hospital, files: list[Path]) -> Iterator[tuple[str, bytes]]:
    """(where, bytes) of every file with its name, and of all that was said; gzip members unpacked."""
    for number, text in enumerate(hospital.said):
        yield f"said {number}", text
    for file in files:
        content = file.read_bytes()
        yield file.name, content + b"\n" + str(file.relative_to(hospital.folder)).encode()
        if content[:2] == b"\x1f\x8b":
            yield f"{file.name} unpacked", gzip.decompress(content)


def _spellings(canary: str) -> Iterator[tuple[str, bytes]]:
    """The bytes in which a canary could stand somewhere."""
    raw = canary.encode()
    for encoding in ("utf-8", "gbk", "utf-16-le", "utf-16-be"):
        yield encoding, canary.encode(encoding)
    escaped = canary.encode("ascii", "backslashreplace")
    yield from (("escape", escaped), ("percent", quote(canary).encode()), ("hex", raw.hex().encode()))
    for offset in range(3):  # the part of the base64 text that does not depend on what stands around
        start, stop = -(-8 * offset // 6), (8 * (offset + len(raw))) // 6
        yield f"base64 {offset}", base64.b64encode(b"\0" * offset + raw)[start:stop]


def test_the_search_finds_every_spelling() -> None:
    """The searcher itself: each spelling, planted, is found."""
    text = f"前{NAME}后"
    planted = [text.encode(code) for code in ("utf-8", "gbk", "utf-16-le", "utf-16-be")]
    planted += [json.dumps(text).encode(), quote(text).encode(), text.encode().hex().encode()]
    planted += [base64.b64encode(b"x" * n + NAME.encode() + b"yz") for n in range(3)]
    for (spelling, needle), hay in zip(_spellings(NAME), planted, strict=True):
        assert needle in hay, spelling
