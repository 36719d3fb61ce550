"""Sources of data as a configuration names them: records, other training data, and evaluation sets to stay clear of."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """Unknown keys are refused: a misspelt option never passes for a default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


RecordReader = Literal[
    "table",
    "notes",
    "dialogues",
    "jsonl",
    "synthetic",
    "ai_hospital_records",
    "ai_hospital",
    "easymed_spbench",
    "dialmed",
    "mts_dialog",
    "aci_bench",
]
OtherReader = Literal["toyhom", "sharegpt", "conversations"]


class RecordMapping(Section):
    """What the columns of a table are: how a hospital's own names become ours."""

    patient: str | None = Field(
        default=None,
        description="column of the patient's id; without one every row is its own patient (dialogues only)",
    )
    encounter: str | None = Field(
        default=None, description="column of the encounter's id; rows with equal ids become one record"
    )
    time: str | None = Field(
        default=None, description="column of the date and time of the row; events keep minutes since the first"
    )
    department: str | None = Field(default=None, description="column of the department")
    diagnosis_code: str | None = Field(
        default=None, description="column of the ICD code of the main diagnosis; kept beside the text, never in it"
    )
    sections: dict[str, str] = Field(
        default={},
        description="wide format: column to kind of event, or to 'kind:label' where the text is to keep a label",
    )
    kind: str | None = Field(
        default=None, description="long format: column that says which section the row is; its text is in 'text'"
    )
    text: str | None = Field(default=None, description="long format: column of the section's text")
    kinds: dict[str, str] = Field(
        default={}, description="long format: values of 'kind' that are no known heading, to kind of event"
    )
    notes: tuple[str, ...] = Field(default=(), description="columns of whole notes, to be split at their headings")
    dialogue: str | None = Field(
        default=None, description="column of a dialogue: text with speakers' labels, or a list of turns (sharegpt)"
    )
    identifiers: dict[str, str] = Field(
        default={},
        description="column to category (name, phone, id_card, address …): values are scrubbed from the record's text",
    )
    ignore: tuple[str, ...] = Field(default=(), description="columns left out on purpose: not reported as unmapped")


class RecordSource(Section):
    """One source of records."""

    reader: RecordReader = Field(description="which reader understands the source")
    path: str | None = Field(
        default=None, description="file or folder, relative to --data; none for the synthetic generator and for SQL"
    )
    n_max: int | None = Field(default=None, gt=0, description="read at most so many rows of the source")
    language: Literal["zh", "en"] = Field(default="zh", description="language of the records")
    format: Literal["auto", "csv", "tsv", "json", "jsonl", "parquet", "excel", "sql"] = Field(
        default="auto", description="format of a table; auto goes by the file's suffix"
    )
    encoding: Literal["auto", "utf-8", "gb18030"] = Field(
        default="auto", description="encoding of text files; auto tells UTF-8 from GB18030, file by file"
    )
    mapping: RecordMapping = Field(default=RecordMapping(), description="what the columns of a table are")
    sheet: str | None = Field(default=None, description="Excel: name of the sheet; none takes the first")
    items: str = Field(
        default="", description="JSON: dotted path of the list of rows; empty where the file is the list"
    )
    url_env: str | None = Field(
        default=None, description="SQL: environment variable that holds the SQLAlchemy URL with its password"
    )
    url: str | None = Field(default=None, description="SQL: SQLAlchemy URL without a password, instead of url_env")
    query: str | None = Field(default=None, description="SQL: one SELECT without ORDER BY")
    patient_from: Literal["file", "folder"] = Field(
        default="file",
        description="notes and dialogues in text files: whose the file is, by its name, or by its folder's",
    )
    max_line_bytes: int = Field(
        default=16 * 2**20, ge=1024, description="longest line, row or note file, in bytes; longer ones are rejected"
    )
    max_held_mb: int = Field(
        default=256, gt=0, description="most text, in MiB, of encounters whose rows do not stand together"
    )


class OtherSource(Section):
    """One source of other instruction data for the mixture."""

    reader: OtherReader = Field(description="format of the source")
    path: str | None = Field(default=None, description="file, relative to --data; none for the packaged set")
    n_max: int | None = Field(default=None, gt=0, description="take at most so many, evenly spread over the file")
    license: str = Field(default="unstated", description="licence as stated by the source")


class AgainstSource(Section):
    """An exam or evaluation set of which training must hold no piece."""

    path: str = Field(description="file or folder of .json, .jsonl, .csv, .tsv or .txt, relative to --data")
    fields: tuple[str, ...] = Field(
        default=(), description="names of the fields or columns compared (question, …); empty takes every text"
    )
