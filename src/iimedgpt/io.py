"""Files: private by default, written atomically, read with errors that name file and line.

Everything written here is 0600 in 0700 folders, because it may hold text of records.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from iimedgpt.errors import DataError

Model = TypeVar("Model", bound=BaseModel)

_SECRET_BYTES = 32


def make_private_dir(path: Path) -> Path:
    """Create a folder and its missing parents, each 0700; existing folders are left as they are."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
    return path


def _fsync_dir(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes) -> None:
    """Atomic and durable: temporary file beside the target, fsync, rename, fsync of the folder."""
    make_private_dir(path.parent)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    _fsync_dir(path.parent)


def write_text(path: Path, text: str) -> None:
    """Atomic UTF-8 text."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Atomic JSON, sorted keys, one trailing newline: equal values give equal bytes."""
    write_text(path, json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """One JSON document.

    Raises:
        DataError: missing file or broken JSON, with its line.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError("broken JSON", path=path, line=error.lineno, expected="one JSON document") from None


def read_text(path: Path, encoding: str = "utf-8-sig") -> str:
    """Whole file as text.

    Raises:
        DataError: missing, unreadable or not in the encoding.
    """
    try:
        return path.read_text(encoding=encoding)
    except FileNotFoundError:
        raise DataError("file not found", path=path, expected="an existing file") from None
    except IsADirectoryError:
        raise DataError("is a folder", path=path, expected="a file") from None
    except PermissionError:
        raise DataError("no permission to read", path=path) from None
    except UnicodeDecodeError as error:
        raise DataError(f"byte {error.start} is not {encoding}", path=path, expected=f"{encoding} text") from None


def json_line(row: BaseModel | dict[str, Any]) -> str:
    """One line of JSON, without what a model has by default."""
    value = row.model_dump(mode="json", exclude_defaults=True) if isinstance(row, BaseModel) else row
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


class JsonlWriter:
    """Writes models as JSON lines to a hidden file that takes its name only when all went well.

    Use as a context manager; an exception inside leaves nothing behind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_rows = 0

    def __enter__(self) -> JsonlWriter:
        make_private_dir(self.path.parent)
        handle, self._temporary = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        self._out = os.fdopen(handle, "w", encoding="utf-8")
        return self

    def write(self, row: BaseModel | dict[str, Any]) -> None:
        self.write_line(json_line(row))

    def write_line(self, line: str) -> None:
        """A row that ``json_line`` has made already."""
        self._out.write(line + "\n")
        self.n_rows += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._out.flush()
            os.fsync(self._out.fileno())
        self._out.close()
        if kind is None:
            os.replace(self._temporary, self.path)
            _fsync_dir(self.path.parent)
        else:
            os.unlink(self._temporary)


def write_jsonl(path: Path, rows: Iterable[BaseModel | dict[str, Any]]) -> int:
    """Write all rows atomically; returns how many."""
    with JsonlWriter(path) as writer:
        for row in rows:
            writer.write(row)
    return writer.n_rows


def append_lines(path: Path, lines: Iterable[str]) -> None:
    """Lines at the end of a file, which is made where it is not there; on disk when this returns."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(handle, "a", encoding="utf-8") as out:
        out.writelines(f"{line}\n" for line in lines)
        out.flush()
        os.fsync(out.fileno())


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, line) of each non-empty line.

    Raises:
        DataError: missing file or not UTF-8, with the line.
    """
    try:
        with path.open("rb") as source:
            for number, raw in enumerate(source, start=1):
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
                except UnicodeDecodeError as error:
                    raise DataError(
                        f"byte {error.start} is not UTF-8", path=path, line=number, expected="UTF-8 text"
                    ) from None
                if line:
                    yield number, line
    except FileNotFoundError:
        raise DataError("file not found", path=path, expected="an existing file") from None
    except IsADirectoryError:
        raise DataError("is a folder", path=path, expected="a file") from None


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of each line.

    Raises:
        DataError: a line that is not a JSON object.
    """
    for number, line in read_lines(path):
        try:
            value = json.loads(line)
        except (json.JSONDecodeError, RecursionError):
            raise DataError("broken JSON line", path=path, line=number, expected="one JSON object") from None
        if not isinstance(value, dict):
            raise DataError("not a JSON object", path=path, line=number, expected="one JSON object")
        yield number, value


def read_jsonl(path: Path, model: type[Model]) -> Iterator[Model]:
    """Typed rows of a file.

    Raises:
        DataError: broken line, or a field that is missing, unknown or of the wrong type.
    """
    for number, value in read_json_lines(path):
        try:
            yield model.model_validate(value)
        except ValidationError as error:
            raise _field_error(error, path, number) from None


def _field_error(error: ValidationError, path: Path, line: int) -> DataError:
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    return DataError("invalid value", path=path, line=line, field=field, expected=first["msg"])


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    try:
        with path.open("rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()
    except FileNotFoundError:
        raise DataError("file not found", path=path, expected="an existing file") from None
    except IsADirectoryError:
        raise DataError("is a folder", path=path, expected="a file") from None


class Secret:
    """The key under which patients' ids and date shifts are derived. Never printed, never copied.

    Kept 0600 outside every run folder: in ``$IIMEDGPT_SECRET_FILE``, else
    ``~/.config/iimedgpt/secret``; made on first use.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "Secret(…)"

    @classmethod
    def load(cls, path: Path | None = None) -> Secret:
        path = path or Path(
            os.environ.get("IIMEDGPT_SECRET_FILE", "") or Path.home() / ".config" / "iimedgpt" / "secret"
        )
        if not path.exists():
            make_private_dir(path.parent)
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".secret.")
            with os.fdopen(handle, "wb") as out:
                out.write(secrets.token_hex(_SECRET_BYTES).encode())
            with suppress(FileExistsError):  # another process was first: its secret is the one
                os.link(temporary, path)
            os.unlink(temporary)
        return cls._read(path)

    @classmethod
    def _read(cls, path: Path) -> Secret:
        if path.stat().st_mode & 0o077:
            raise DataError(
                "secret file is readable by others", path=path, expected="mode 0600", hint=f"chmod 600 {path}"
            )
        try:
            key = bytes.fromhex(path.read_text().strip())
        except (ValueError, UnicodeDecodeError):
            key = b""
        if len(key) < _SECRET_BYTES:
            raise DataError("secret file is damaged", path=path, expected=f"{2 * _SECRET_BYTES} hex digits")
        return cls(key)

    def id(self, *parts: str) -> str:
        """16 hex digits: an id that cannot be guessed back without the secret."""
        return self._mac(parts).hex()[:16]

    def sign(self, *parts: str) -> str:
        """64 hex digits: a signature over the parts."""
        return self._mac(parts).hex()

    def number(self, *parts: str, below: int) -> int:
        """A number in [0, below) that depends on the parts and the secret only."""
        return int.from_bytes(self._mac(parts), "big") % below

    def _mac(self, parts: tuple[str, ...]) -> bytes:
        raw = "".join(f"{len(part)}:{part}" for part in parts).encode("utf-8", "surrogatepass")
        return hmac.new(self._key, raw, hashlib.sha256).digest()
