"""A named-entity model from a folder of the user's own, for de-identification. Nothing is ever fetched.

Shapes: windows W, tokens T (at most the model's length), labels K.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import torch

from iimedgpt.engine.folders import entity_labels
from iimedgpt.entities import Entity, EntityKind, is_begin, kind_of
from iimedgpt.errors import DataError

MAX_TOKENS = 512
OVERLAP = 64  # tokens two windows share: an entity at an edge stands whole in one of them
BATCH = 16  # windows read at once
MAX_CHARS = 20_000  # tokenised at once; a longer text goes in pieces


def load_tagger(folder: Path) -> TransformersTagger:
    """The tagger, on CUDA where there is one; one thread in a worker process, as there is one a core.

    Raises:
        DataError: the folder does not hold a complete token-classification model, or it does not load.
    """
    from transformers import AutoModelForTokenClassification, AutoTokenizer
    from transformers.utils import logging as library_logging

    labels = entity_labels(folder)
    library_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    library_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if parent_process() is not None:
        torch.set_num_threads(1)
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, **local)
        model, info = AutoModelForTokenClassification.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, dtype=torch.float32, **local
        )
    except Exception as error:  # each library has its own, safetensors' is no ValueError
        raise DataError(f"the model does not load ({type(error).__name__})", path=folder, field="records.ner") from None
    if info["missing_keys"] or info["mismatched_keys"]:
        raise DataError(
            "the weights lack a part of the model",
            path=folder,
            field="records.ner",
            expected="a model trained for token classification",
        )
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        raise DataError("the tokenizer tells no places in the text, or cannot pad", path=folder, field="records.ner")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return TransformersTagger(model.to(device).eval(), tokenizer, labels)


class TransformersTagger:
    """Persons, places and organisations by the most probable label of each token."""

    def __init__(self, model: Any, tokenizer: Any, labels: Sequence[str]) -> None:
        """Args: ``labels`` by index, as the model's head gives them."""
        self._model, self._tokenizer = model, tokenizer
        self._kinds = [kind_of(label) for label in labels]
        self._begins = [is_begin(label) for label in labels]
        places = getattr(model.config, "max_position_embeddings", MAX_TOKENS)
        # a RoBERTa counts its positions from behind the padding's index
        offset = (model.config.pad_token_id or 0) + 1 if "roberta" in model.config.model_type else 0
        self._n_tokens = min(MAX_TOKENS, places - offset, tokenizer.model_max_length)

    def __call__(self, texts: Sequence[str]) -> list[list[Entity]]:
        """The entities of each text; those that two windows share come twice."""
        found: list[list[Entity]] = [[] for _ in texts]
        pieces = list(_pieces(texts))
        if not pieces:
            return found
        n_special = self._tokenizer.num_special_tokens_to_add()
        windows = self._tokenizer(
            [text for _, _, text in pieces],
            truncation=True,
            max_length=self._n_tokens,
            stride=min(OVERLAP, (self._n_tokens - n_special) // 2),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        places_WT = windows.pop("offset_mapping")
        piece_W = windows.pop("overflow_to_sample_mapping")
        for start in range(0, len(places_WT), BATCH):
            batch = {name: rows[start : start + BATCH] for name, rows in windows.items()}
            for at, labels in enumerate(self._labels(batch), start):
                number, first, _ = pieces[piece_W[at]]
                found[number] += self._entities(places_WT[at], labels, first)
        return found

    def _labels(self, batch: dict[str, list[list[int]]]) -> list[list[int]]:
        """The most probable label of each token, padding included."""
        padded = self._tokenizer.pad(batch, return_tensors="pt").to(self._model.device)
        with torch.inference_mode():
            labels: list[list[int]] = self._model(**padded).logits.argmax(-1).tolist()
        return labels

    def _entities(self, places: Sequence[tuple[int, int]], labels: Sequence[int], first: int) -> Iterator[Entity]:
        """Tokens of one kind that follow each other are one entity, unless a label opens a new one."""
        kind: EntityKind | None = None
        start = end = 0
        for (token_start, token_end), label in zip(places, labels, strict=False):
            if token_start == token_end:  # [CLS] and the like
                continue
            now = self._kinds[label]
            if now is None or now != kind or self._begins[label]:
                if kind is not None:
                    yield Entity(first + start, first + end, kind)
                kind, start = now, token_start
            end = token_end
        if kind is not None:
            yield Entity(first + start, first + end, kind)


def _pieces(texts: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """(number of the text, first character, text): pieces of a long text share a stretch with the next."""
    for number, text in enumerate(texts):
        for start in range(0, max(1, len(text) - OVERLAP), MAX_CHARS - OVERLAP):
            piece = text[start : start + MAX_CHARS]
            if piece.strip():
                yield number, start, piece
