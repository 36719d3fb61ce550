"""Names of columns and files that may be shown.

An export can carry identifiers in a column name, a key or a file name: a table without a header
line, one column a patient, 张三_出院小结.txt. Such a name reaches messages, logs and manifests, so a
name is shown only where it consists of words known here or was written into the configuration; any
other is called by its place.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from importlib import resources
from pathlib import Path

from iimedgpt.errors import DataError
from iimedgpt.records.readers.rows import Files
from iimedgpt.records.sections import parse_heading

MAX_SHOWN = 20

_WORDS = resources.files("iimedgpt.records.readers").joinpath("column_words.txt").read_text("utf-8")
_WORDS_ZH, _WORDS_EN = (
    sorted((word for word in _WORDS.split("\n", 1)[1].split() if word.isascii() is is_en), key=len, reverse=True)
    for is_en in (False, True)
)


_SEPARATOR = r"[\s_\-./()（）:：]"
_KNOWN = re.compile(
    rf"{_SEPARATOR}*(?:(?:{'|'.join(_WORDS_ZH)})|(?<![a-z])(?:{'|'.join(_WORDS_EN)}|[a-z])(?![a-z])"
    rf"|(?<![0-9])[0-9]{{1,4}}(?![0-9])|{_SEPARATOR})+",
    re.IGNORECASE,
)
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


def is_showable(name: str) -> bool:
    """True where the name consists of known words: 就诊科室, visit_id, patientId, a.csv's stem."""
    name = _HUMP.sub("_", name.strip())
    if parse_heading(name, "zh") or parse_heading(name, "en"):
        return True
    # one character alone proves nothing: 史 and 科 are also parts of names
    has_word = len(re.findall(r"[\u4e00-\u9fff]", name)) != 1
    # 日期20240305 is fine, 13800000000 or a chain of short numbers is not
    return has_word and len(re.findall(r"\d", name)) <= 8 and _KNOWN.fullmatch(name) is not None


def show_name(name: str, place: int, named: Collection[str] = ()) -> str:
    """The column's name, or "column 7" where the name may be an identifier (``place`` from 1)."""
    return name.strip() if name in named or is_showable(name) else f"column {place}"


def show_names(names: Sequence[str], named: Collection[str] = ()) -> list[str]:
    """At most ``MAX_SHOWN`` names of a table's columns, and how many there are beyond."""
    shown = [show_name(name, place, named) for place, name in enumerate(names[:MAX_SHOWN], start=1)]
    return shown + ([f"{len(names) - MAX_SHOWN} more"] if len(names) > MAX_SHOWN else [])


def label_files(path: Path, files: Mapping[str, Path]) -> Files:
    """The files under names that may be shown: their own, or their place in the folder.

    A file that the configuration names itself (``path`` is a file) keeps its name.
    """
    if path.is_file():
        return dict(files)
    labels: dict[str, Path] = {}
    for number, (name, file) in enumerate(files.items(), start=1):
        bare, *suffixes = file.name.split(".")
        is_known = is_showable(bare) and all(is_showable(part) for part in Path(name).parent.parts)
        kept = [suffix for suffix in suffixes if re.fullmatch("[a-z]{2,7}", suffix)]
        labels[name if is_known and kept == suffixes else ".".join([f"file-{number:05d}", *kept])] = file
    return labels


def check_columns(
    wanted: Sequence[str], columns: Sequence[str], place: str, line: int | None, named: Collection[str]
) -> None:
    """Every wanted column is there, once.

    Raises:
        DataError: naming the file, the column and the columns that there are.
    """
    for column in wanted:
        n = columns.count(column)
        if n != 1:
            raise DataError(
                "mapped column is absent" if n == 0 else "mapped column is there more than once",
                path=place,
                line=line,
                field=column,
                expected="one of: " + ", ".join(show_names(columns, named)) if n == 0 else "one such column",
                hint="iimedgpt records RUN.toml --preview shows what a mapping makes of the first rows",
            )
