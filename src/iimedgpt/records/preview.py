"""What a mapping makes of the first rows, de-identified as the stage does it. Nothing is written."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from iimedgpt.config import RecordSource, RunConfig
from iimedgpt.entities import EntityTagger
from iimedgpt.errors import MissingExtraError
from iimedgpt.io import Secret
from iimedgpt.records.clean import clean
from iimedgpt.records.deid import Deidentifier
from iimedgpt.records.raw import Category, RawRecord
from iimedgpt.records.readers import Rejected, preview_source
from iimedgpt.types import Event

MAX_SHOWN_CHARS = 200


@dataclass
class Preview:
    """The first records of one source and what happened on the way to them."""

    source: RecordSource
    records: list[tuple[str, tuple[Event, ...], Counter[Category]]] = field(default_factory=list)  # place, …
    rejected: list[tuple[str, str]] = field(default_factory=list)  # place, reason
    counts: Counter[str] = field(default_factory=Counter)


def preview(
    config: RunConfig, n_records: int, load_tagger: Callable[[], EntityTagger] | None = None
) -> Iterator[Preview]:
    """The first records of each source.

    Dates move by a key made for this call: the secret itself is neither read nor made.

    Raises:
        ConfigError, DataError: as in the stage.
    """
    tagger = load_tagger() if load_tagger else None
    deidentifier = Deidentifier(Secret(secrets.token_bytes(32)), config.records.surrogates, tagger)
    for source in config.records.sources:
        yield _preview_one(source, config, n_records, deidentifier)


def _preview_one(source: RecordSource, config: RunConfig, n_records: int, deidentifier: Deidentifier) -> Preview:
    shown = Preview(source)
    for file, item in preview_source(source, config, n_records, shown.counts):
        place = f"{file}:{item.row}"
        if isinstance(item, Rejected):
            shown.rejected.append((place, item.reason))
            continue
        reason = _add(shown, place, item, deidentifier, config.records.max_text_chars)
        if reason:
            shown.rejected.append((place, reason))
        if len(shown.records) == n_records:
            break
    return shown


def _add(shown: Preview, place: str, raw: RawRecord, deidentifier: Deidentifier, max_text_chars: int) -> str | None:
    """The reason why the record would be dropped, ``None`` where it was added."""
    try:
        scrubbed = deidentifier.deidentify(raw)
    except MissingExtraError:
        raise
    except Exception:  # as in the stage: never shown
        return "deid_failed"
    kept, reason = clean(scrubbed.events, max_text_chars)
    if reason is None:
        shown.records.append((place, kept, scrubbed.counts))
    return reason


def render(shown: Preview) -> Iterator[str]:
    """Lines for a terminal, without markup and without control characters."""
    yield f"{shown.source.reader}: {len(shown.records)} records, {len(shown.rejected)} rows rejected"
    for place, events, counts in shown.records:
        replaced = ", ".join(f"{category} {n}" for category, n in sorted(counts.items()))
        yield f"\n  {place}  (replaced: {replaced or 'nothing'})"
        for event in events:
            head = event.kind.value + (f" {event.speaker}" if event.speaker else "")
            head += f" +{event.time} min" if event.time is not None else ""
            text = event.text.replace("\n", " / ")
            cut = f" … ({len(text)} characters)" if len(text) > MAX_SHOWN_CHARS else ""
            yield f"    {head}: {text[:MAX_SHOWN_CHARS]}{cut}"
    for place, reason in shown.rejected:
        yield f"  rejected {place}: {reason}"
    unmapped = [name.removeprefix("unmapped: ") for name in shown.counts if name.startswith("unmapped: ")]
    if unmapped:
        n_more = shown.counts["unmapped_columns"] - len(unmapped)
        yield f"  unmapped columns: {', '.join(unmapped)}" + (f" and {n_more} more" if n_more > 0 else "")
    others = {name: n for name, n in sorted((+shown.counts).items()) if not name.startswith("unmapped")}
    if others:
        yield "  counted: " + ", ".join(f"{name} {n}" for name, n in others.items())
