"""What one model is asked: one ``score`` and one ``generate`` call, kept so that a killed run goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from iimedgpt import io
from iimedgpt.errors import GenerationError
from iimedgpt.text import content_id
from iimedgpt.types import AnswerScore, Generation, LanguageModel, Message

Prompt = tuple[Message, ...]
Likelihood = Callable[[Prompt, str], AnswerScore]


@dataclass
class Inquiry:
    """Questions for one model, each once, in the order first asked (a record's stay side by side)."""

    questions: dict[tuple[Prompt, str], int] = field(default_factory=dict)
    prompts: dict[Prompt, int] = field(default_factory=dict)

    def ask_likelihood(self, prompt: Prompt, answer: str) -> None:
        self.questions.setdefault((prompt, answer), len(self.questions))

    def ask_answer(self, prompt: Prompt) -> None:
        self.prompts.setdefault(prompt, len(self.prompts))

    def digest(self, max_new_tokens: int, seed: int) -> str:
        """Identifies what is asked: a stored reply to other questions is never taken."""
        asked = (*(part for prompt, answer in self.questions for part in (*_parts(prompt), answer)),)
        answered = (*(part for prompt in self.prompts for part in _parts(prompt)),)
        return content_id(*asked, "|", *answered, str(max_new_tokens), str(seed))


@dataclass(frozen=True)
class Reply:
    """What one model replied to an inquiry."""

    model_id: str
    inquiry: Inquiry
    scores: list[AnswerScore]
    generations: list[Generation]

    def likelihood(self, prompt: Prompt, answer: str) -> AnswerScore:
        return self.scores[self.inquiry.questions[prompt, answer]]

    def answer(self, prompt: Prompt) -> Generation | None:
        """The generated answer, None where the prompt was not asked."""
        place = self.inquiry.prompts.get(prompt)
        return None if place is None else self.generations[place]


def consult(
    path: Path,
    name: str,
    inquiry: Inquiry,
    load_model: Callable[[str], LanguageModel],
    *,
    max_new_tokens: int,
    seed: int,
) -> Reply:
    """Ask a model everything at once, or take the reply kept at ``path``; the model is loaded only if needed.

    Raises:
        GenerationError: a reply of the wrong length, or a likelihood that is not finite.
    """
    digest = inquiry.digest(max_new_tokens, seed)
    kept = io.read_json(path) if path.exists() else {}
    if kept.get("asked") != digest:
        model = load_model(name)
        scores = model.score(list(inquiry.questions)) if inquiry.questions else []
        check_scores(name, scores, len(inquiry.questions))
        generations: list[Generation] = []
        if inquiry.prompts:
            generations = model.generate(
                list(inquiry.prompts), max_new_tokens=max_new_tokens, temperature=0.0, seed=seed
            )
        if len(generations) != len(inquiry.prompts):
            raise GenerationError(f"model '{name}' gave {len(generations)} answers to {len(inquiry.prompts)} prompts")
        kept = {
            "asked": digest,
            "model_id": model.model_id,
            "scores": [[score.logp, score.n_tokens] for score in scores],
            "generations": [[answer.text, answer.is_finished] for answer in generations],
        }
        io.write_json(path, kept)
    return Reply(
        model_id=kept["model_id"],
        inquiry=inquiry,
        scores=[AnswerScore(logp=logp, n_tokens=n_tokens) for logp, n_tokens in kept["scores"]],
        generations=[Generation(text=text, is_finished=done) for text, done in kept["generations"]],
    )


def check_scores(name: str, scores: Sequence[AnswerScore], n_asked: int) -> None:
    """Refuse likelihoods that are not as many as asked, or not finite.

    Raises:
        GenerationError: naming the model.
    """
    if len(scores) != n_asked:
        raise GenerationError(f"model '{name}' scored {len(scores)} of {n_asked} answers")
    n_broken = sum(not math.isfinite(score.logp) for score in scores)
    if n_broken:
        raise GenerationError(
            f"model '{name}' gave {n_broken} of {n_asked} likelihoods that are not finite numbers",
            hint="look at its training log for a diverged loss, or load it in float32",
        )


def _parts(prompt: Prompt) -> tuple[str, ...]:
    return tuple(part for message in prompt for part in (message.role, message.content))
