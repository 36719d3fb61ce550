"""After de-identification: one form of text, no empty events, no text that is too long."""

from __future__ import annotations

from iimedgpt.text import normalise
from iimedgpt.types import Event


def clean(events: tuple[Event, ...], max_text_chars: int) -> tuple[tuple[Event, ...], str | None]:
    """(events, None), or ((), the reason in snake_case why the record is unusable)."""
    texts = [normalise(event.text) for event in events]
    kept = tuple(
        event if event.text == text else event.model_copy(update={"text": text})
        for event, text in zip(events, texts, strict=True)
        if text
    )
    if not kept:
        return (), "empty_record"
    if any(len(event.text) > max_text_chars for event in kept):
        return (), "text_too_long"
    return kept, None
