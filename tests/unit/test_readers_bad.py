"""Bad input: located, counted, never a crash, and the rows around it are read (in = out + rejected)."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest

from iimedgpt.errors import DataError
from tests.unit.tables import HEADER, WIDE, read

GOOD = [f"{i},V{i},咳嗽{i}天,无\n" for i in range(4)]


def write(path: Path, *lines: str | bytes) -> None:
    path.write_bytes(b"".join(line.encode() if isinstance(line, str) else line for line in lines))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("9,V9,a\n", "ragged_row"),
        ("9,V9,a,b,c\n", "ragged_row"),
        ("9,V9,a\x00b,c\n", "nul_byte"),
        (b"9,V9,\xed\xa0\x80,c\n", "wrong_encoding"),  # a lone surrogate as bytes
        ('9,V9,"a"b,c\n', "broken_quotes"),
        ('9,V9,"a,c\n', "broken_quotes"),  # never closed: costs its own line only
        ("9,V9," + "a" * 3_000 + ",c\n", "line_too_long"),
        (",V9,a,c\n", "no_patient_id"),
        ("9,NULL,a,c\n", "no_encounter_id"),
        ("9,V9,,\n", "empty_record"),
    ],
)
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_bad_row_of_a_csv_costs_that_row(tmp_path: Path, line: str | bytes, reason: str, place: int) -> None:
    write(tmp_path / "a.csv", HEADER, *GOOD[:place], line, *GOOD[place:])
    records, rejected, _ = read(tmp_path, "a.csv", WIDE, max_line_bytes=2_000)
    assert rejected == [("a.csv", place + 2, reason)]
    assert [record.encounter_key for record in records] == ["V0", "V1", "V2", "V3"]


def test_a_trailing_empty_cell_is_no_ragged_row(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", HEADER, "1,A,a,b,\n")
    assert len(read(tmp_path, "a.csv", WIDE)[0]) == 1


def test_cells_over_several_lines_keep_the_number_of_their_first(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", HEADER, '1,A,"a\nb\nc",d\n', "\n", "2,B,a\n")
    records, rejected, _ = read(tmp_path, "a.csv", WIDE)
    assert [event.text for event in records[0].events] == ["a\nb\nc", "d"]
    assert rejected == [("a.csv", 6, "ragged_row")]


def test_why_csv_is_not_left_to_pyarrow_or_polars() -> None:
    """An unclosed quote swallows the rows after it in silence; a long row stops the file; rows are padded."""
    pc = pytest.importorskip("pyarrow.csv")
    options = pc.ParseOptions(newlines_in_values=True)
    swallowed = pc.read_csv(io.BytesIO(b'a,b\n1,"x\n2,y\n3,z\n'), parse_options=options)
    assert swallowed.num_rows == 1
    with pytest.raises(Exception, match="straddling"):
        pc.open_csv(io.BytesIO(b"a,b\n1," + b"x" * 3_000_000 + b"\n2,y\n")).read_all()


def test_a_truncated_gzip_gives_what_it_holds_and_says_where_it_ends(tmp_path: Path) -> None:
    lines = [HEADER, *(f"{i},V{i},{'咳' * 50},{i * 7919}\n" for i in range(2_000))]
    packed = gzip.compress("".join(lines).encode())
    (tmp_path / "a.csv.gz").write_bytes(packed[: len(packed) // 2])
    records, rejected, _ = read(tmp_path, "a.csv.gz", WIDE)
    assert 100 < len(records) < 2_000
    (last,) = rejected
    assert last == ("a.csv.gz", len(records) + 2, "damaged_file")


def test_a_truncated_zst_says_so_too(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    text = "".join([HEADER, *(f"{i},V{i},{i * 7919},{i * 104729}\n" for i in range(20_000))])
    with pa.CompressedOutputStream(pa.OSFile(str(tmp_path / "a.csv.zst"), "wb"), "zstd") as out:
        out.write(text.encode())
    whole = (tmp_path / "a.csv.zst").read_bytes()
    assert len(read(tmp_path, "a.csv.zst", WIDE)[0]) == 20_000
    (tmp_path / "a.csv.zst").write_bytes(whole[: len(whole) // 2])
    records, rejected, _ = read(tmp_path, "a.csv.zst", WIDE)
    assert rejected == [("a.csv.zst", len(records) + 2, "damaged_file")]


def test_a_line_of_100_mb_is_passed_over_and_never_held(tmp_path: Path) -> None:
    import tracemalloc

    with (tmp_path / "a.csv").open("wb") as out:
        out.write(HEADER.encode() + b"1,A,")
        for _ in range(100):
            out.write(b"x" * 2**20)
        out.write(b",c\n" + GOOD[0].encode())
    tracemalloc.start()
    records, rejected, _ = read(tmp_path, "a.csv", WIDE, max_line_bytes=2**20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rejected == [("a.csv", 2, "line_too_long")]
    assert len(records) == 1
    assert peak < 12 * 2**20


def test_a_damaged_row_group_of_a_parquet_file_is_counted_row_by_row(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    table = pa.table({"患者编号": [str(i) for i in range(300)], "住院号": [f"V{i}" for i in range(300)],
                      "主诉": [f"咳嗽{i}" for i in range(300)], "现病史": ["无"] * 300})  # fmt: skip
    pq.write_table(table, path, row_group_size=100, compression="gzip")
    column = pq.ParquetFile(path).metadata.row_group(1).column(2)
    raw = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    raw[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(bytes(raw))
    records, rejected, _ = read(tmp_path, "a.parquet", WIDE)
    assert len(records) == 200
    assert rejected == [("a.parquet", row, "damaged_row_group") for row in range(101, 201)]


@pytest.mark.parametrize("name", ["a.parquet", "a.xlsx"])
def test_a_file_that_is_none_of_its_format_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\x03\x04 no")
    with pytest.raises(DataError, match=f"{name}: not a whole"):
        read(tmp_path, name, WIDE)


def test_a_json_document_that_breaks_off_gives_what_it_holds(tmp_path: Path) -> None:
    row = '{"患者编号": "%d", "住院号": "V%d", "主诉": "咳嗽", "现病史": "无"}'
    write(tmp_path / "a.json", "[" + row % (1, 1) + "," + row % (2, 2) + ', 5, {"患者')
    records, rejected, _ = read(tmp_path, "a.json", WIDE)
    assert len(records) == 2
    assert rejected == [("a.json", 3, "not_an_object"), ("a.json", 4, "broken_json")]


def test_a_header_in_another_encoding_is_named_without_its_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(HEADER + GOOD[0], encoding="gb18030")
    with pytest.raises(DataError, match=r"a\.csv:1: header is in another encoding"):
        read(tmp_path, "a.csv", WIDE, encoding="utf-8")
