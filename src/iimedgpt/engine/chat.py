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
from iimedgpt.errors import DataError
from iimedgpt.types import Message

USER = "### User:\n"
ASSISTANT = "### Assistant:\n"
PROBE = "zebra"  # an answer whose place in the rendered text is certain


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
        self.stop_ids = frozenset({self.end_id, tokenizer.eos_token_id})

    def _end_of_answer(self) -> int:
        """The token at which generation stops: the template's end of turn, else end of text."""
        if self.template is None:
            return self.tokenizer.eos_token_id
        turns = [Message(role="user", content="?"), Message(role="assistant", content=PROBE)]
        text = str(self._apply(turns, False, tokenize=False))
        tail = self.tokenizer.encode(text[text.rindex(PROBE) + len(PROBE) :], add_special_tokens=False)
        decoder: dict[int, Any] = getattr(self.tokenizer, "added_tokens_decoder", {})
        special = {number for number, token in decoder.items() if token.special}
        return next((token for token in tail if token in special), self.tokenizer.eos_token_id)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Token ids up to where the assistant's answer begins."""
        if self.template is not None:
            return list(self._apply(messages, True))
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

    def _apply(self, messages: Sequence[Message], is_prompt: bool, *, tokenize: bool = True) -> Any:
        """The model's own template; control tokens spelt out in contents stay plain text.

        Raises:
            DataError: the template refuses these roles.
        """
        rows = [{"role": message.role, "content": message.content} for message in messages]
        apply: Any = self.tokenizer.apply_chat_template  # type: ignore[attr-defined]
        options = {"tokenize": tokenize, "return_dict": False, "sanitize_control_tokens": tokenize}
        try:
            return apply(rows, add_generation_prompt=is_prompt, **options)
        except Exception as error:
            if type(error).__name__ != "TemplateError":
                raise
            roles = ", ".join(message.role for message in messages)
            raise DataError(
                f"the model's chat template refuses the roles {roles}",
                hint="use a model whose template takes a system message, or a base model without one",
            ) from None
