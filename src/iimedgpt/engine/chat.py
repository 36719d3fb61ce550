"""From messages to token ids, the same way in training, scoring and serving. No torch.

A model with a chat template of its own uses it. A base model gets ours, plain on purpose:

    {system}⏎⏎### User:⏎{question}⏎⏎### Assistant:⏎{answer}<eos>⏎⏎### User:⏎…

Record text can never become a special token: every piece is encoded with special tokens off.
An answer's tokens are always ``encode(answer) + [end token]`` after the prompt's tokens, which is
what generation produces: trained tokens decode to exactly the answer and its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from iimedgpt.engine.trie import TokenSequence
from iimedgpt.types import Message

USER = "### User:\n"
ASSISTANT = "### Assistant:\n"


class Tokenizer(Protocol):
    """What we ask of a tokenizer; Hugging Face's fast tokenizers fulfil it."""

    eos_token_id: int
    bos_token_id: int | None

    def encode(self, text: str, **kwargs: Any) -> list[int]: ...

    def decode(self, ids: Sequence[int], **kwargs: Any) -> str: ...


class ByteTokenizer:
    """One token a byte, for tests and the tiny random model: 256 = start, 257 = end."""

    bos_token_id: int | None = 256
    eos_token_id = 257
    vocab_size = 258

    def encode(self, text: str, **_: Any) -> list[int]:
        return list(text.encode("utf-8"))

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        return bytes(i for i in ids if i < 256).decode("utf-8", "replace")


class Chat:
    """Renders messages for one tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.template: str | None = getattr(tokenizer, "chat_template", None)
        self.end_id = self._end_of_answer()

    def _end_of_answer(self) -> int:
        """The token at which generation stops: the template's end of turn, else end of text."""
        if self.template is None:
            return self.tokenizer.eos_token_id
        probe = self._apply([Message(role="user", content="a"), Message(role="assistant", content="b")], False)
        after = probe[len(probe) - probe[::-1].index(self._plain("b")[-1]) :]
        special = set(getattr(self.tokenizer, "all_special_ids", ()))
        return next((token for token in after if token in special), self.tokenizer.eos_token_id)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Token ids up to where the assistant's answer begins."""
        if self.template is not None:
            return self._apply(messages, True)
        ids = [] if self.tokenizer.bos_token_id is None else [self.tokenizer.bos_token_id]
        pending = ""
        for message in messages:
            if message.role == "system":
                pending += message.content + "\n\n"
            elif message.role == "user":
                pending += f"{USER}{message.content}\n\n{ASSISTANT}"
            else:
                ids += self._plain(pending) + self.answer_ids(message.content)
                pending = "\n\n"
        return ids + self._plain(pending)

    def answer_ids(self, answer: str) -> list[int]:
        """Token ids of an answer with the token that ends it."""
        return [*self._plain(answer), self.end_id]

    def sequence(self, messages: Sequence[Message], answer: str, weight: float = 1.0) -> TokenSequence:
        """Prompt and answer as one sequence of which the answer and its end are trained."""
        prompt = self.prompt_ids(messages)
        return TokenSequence((*prompt, *self.answer_ids(answer)), len(prompt), weight)

    def _plain(self, text: str) -> list[int]:
        if not text:
            return []
        return self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)

    def _apply(self, messages: Sequence[Message], is_prompt: bool) -> list[int]:
        """The model's own template, with the special tokens' spellings in contents broken up."""
        special = [token for token in getattr(self.tokenizer, "all_special_tokens", ()) if token.strip()]
        rows = [{"role": m.role, "content": _defused(m.content, special)} for m in messages]
        apply: Any = self.tokenizer.apply_chat_template  # type: ignore[attr-defined]
        return list(apply(rows, add_generation_prompt=is_prompt, tokenize=True, return_dict=False))


def _defused(text: str, special: Sequence[str]) -> str:
    for token in special:
        if token in text:
            text = text.replace(token, token[0] + " " + token[1:])
    return text
