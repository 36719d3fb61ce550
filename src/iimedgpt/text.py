"""Text and ids: normalisation, stable hashes, sentences. Pure functions, no I/O."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

_N_CACHED = 2_048  # texts of a few records: the same ones are asked for by every task
_SPACES = re.compile(r"[ \t\u00a0\u3000]+")
_WIDE = re.compile("[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]")  # digits and letters
_BLANK_LINES = re.compile(r"\n\s*\n+")
_SENTENCE_END = re.compile(r"(?<=[。！？；!?;\n])|(?<=\.)(?=\s)")
_FOLD = re.compile(r"[\s，。、；：！？“”‘’（）()【】\[\]《》,.;:!?\"'\-—·]+")


def normalise(text: str) -> str:
    """NFC, LF line ends, no control characters, single spaces, no blank lines, stripped.

    Full-width punctuation stays: it is right in Chinese. Full-width digits and letters become
    ASCII, so that numbers compare.
    """
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    if not text.replace("\n", "").replace("\t", "").isprintable():  # rare: the loop is what costs here
        text = "".join(char for char in text if char in "\n\t" or _is_printable(char))
    if _WIDE.search(text):
        text = _WIDE.sub(lambda match: chr(ord(match[0]) - 0xFEE0), text)
    text = _SPACES.sub(" ", text)
    text = "\n".join(line.strip() for line in text.split("\n"))
    return _BLANK_LINES.sub("\n", text).strip()


def _is_printable(char: str) -> bool:
    return unicodedata.category(char)[0] != "C"


@lru_cache(_N_CACHED)
def fold(text: str) -> str:
    """Lower case without spaces and punctuation: for comparing answers, never for showing."""
    return _FOLD.sub("", unicodedata.normalize("NFKC", text)).lower()


def sentences(text: str) -> list[str]:
    """Sentences with their end marks; joined they give the text back (Chinese and English)."""
    return [part for part in _SENTENCE_END.split(text) if part]


def content_id(*parts: str) -> str:
    """First 16 hex digits of SHA-256 over the parts, each prefixed by its length."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(f"{len(raw)}:".encode())
        digest.update(raw)
    return digest.hexdigest()[:16]


def is_chinese(text: str) -> bool:
    """True where at least a fifth of the characters are CJK ideographs."""
    n_cjk = sum("\u4e00" <= char <= "\u9fff" for char in text)
    return n_cjk * 5 >= max(len(text), 1)


def ngrams(text: str, n: int) -> set[str]:
    """Set of character n-grams; a text shorter than n gives itself."""
    if len(text) <= n:
        return {text} if text else set()
    return {text[i : i + n] for i in range(len(text) - n + 1)}


def unique(items: Iterable[str]) -> list[str]:
    """Items without repeats, first occurrence kept."""
    return list(dict.fromkeys(items))
