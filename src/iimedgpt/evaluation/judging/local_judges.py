"""Judges on this machine: likeness to a reference, a local model's likelihoods, clinicians' votes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from iimedgpt import io
from iimedgpt.evaluation.inquiry import check_scores
from iimedgpt.evaluation.judge import ReferenceJudge, judge_pair, turned
from iimedgpt.evaluation.judging import rubric
from iimedgpt.evaluation.judging.duels import Duel
from iimedgpt.evaluation.judging.replies import Replies, Reply, Usage
from iimedgpt.judging_config import JudgeConfig
from iimedgpt.text import content_id
from iimedgpt.types import Judgement, LanguageModel, Message, Verdict

REFERENCE_MODEL = "reference"
CHUNK_DUELS = 4  # scored in one call and then kept


@dataclass
class ReferenceDuelJudge:
    """``judge.ReferenceJudge`` on duels. Questions without a reference, and the reference itself as a rival
    (it would win by definition), give no row: counted."""

    config: JudgeConfig
    usage: Usage = field(default_factory=Usage)

    @property
    def judge_id(self) -> str:
        return ReferenceJudge(self.config.tie_margin).judge_id

    def judge(self, duels: Sequence[Duel]) -> list[Judgement]:
        judge = ReferenceJudge(self.config.tie_margin)
        rows = []
        for duel in duels:
            if not duel.question.reference.strip() or REFERENCE_MODEL in (duel.model_a, duel.model_b):
                self.usage.n_no_reference += 1
                continue
            row = judge_pair(judge, duel.question.case, duel.model_a, duel.answer_a, duel.model_b, duel.answer_b)
            rows.append(row.model_copy(update={"question_set": duel.question.question_set}))
        return rows


@dataclass
class LikelihoodJudge:
    """A local model that writes nothing: how likely it finds A, and B, as its verdict, in both orders.

    log p(A) − log p(B) after the whole request holds the model's liking for one letter or place, which is
    the same for all duels of a criterion: it is estimated as the mean over both orders of all of them and taken
    off (batch calibration, Zhou et al. 2023, arXiv 2309.17249). What is left above ``tie_margin`` in one
    order is a verdict, the two orders are folded as for any judge. Verdicts therefore hang on the
    duels judged together.
    """

    config: JudgeConfig
    load: Callable[[], LanguageModel]
    identity: str  # of the model's weights
    folder: Path
    usage: Usage = field(default_factory=Usage)

    @property
    def judge_id(self) -> str:
        return f"{self.config.name} (likelihood of {self.config.model}, rubric {rubric.VERSION})"

    def judge(self, duels: Sequence[Duel]) -> list[Judgement]:
        """See ``duels.PairwiseJudge``.

        Raises:
            GenerationError: the model's likelihoods are not finite or not as many as asked.
        """
        rows = []
        asked = [duel for duel in duels if duel.unasked("", "") is None]
        for criterion in self.config.criteria:
            odds = self._log_odds(asked, criterion)
            offset = mean(odds.values()) if odds else 0.0
            for duel in duels:
                row = duel.unasked(self.judge_id, criterion)
                if row is None:
                    ab, ba = (
                        self._verdict(odds.get(self._key(each, criterion)), offset) for each in (duel, duel.turned())
                    )
                    row = duel.judgement(self.judge_id, criterion, ab, turned(ba))
                rows.append(row)
        return rows

    def _verdict(self, odds: float | None, offset: float) -> Verdict:
        if odds is None:
            return Verdict.INVALID
        if abs(odds - offset) <= self.config.tie_margin:
            return Verdict.TIE
        return Verdict.WIN if odds > offset else Verdict.LOSS

    def _key(self, duel: Duel, criterion: str) -> str:
        return duel.key(self.identity, rubric.digest(criterion, duel.question.language), criterion)

    def _log_odds(self, duels: Sequence[Duel], criterion: str) -> dict[str, float]:
        """log p(A) − log p(B) of every duel in both orders, by key; what is on disk is not asked again."""
        asks = {self._key(each, criterion): each for duel in duels for each in (duel, duel.turned())}
        replies = Replies(self.folder / f"{self.config.name}.jsonl")
        missing = [(key, duel) for key, duel in asks.items() if key not in replies]
        self.usage.n_known += len(asks) - len(missing)
        self.usage.n_asked += len(missing)
        model = self.load() if missing else None
        for start in range(0, len(missing), 2 * CHUNK_DUELS):
            chunk = missing[start : start + 2 * CHUNK_DUELS]
            assert model is not None
            items = [(self._request(duel, criterion), label) for _, duel in chunk for label in ("[[A]]", "[[B]]")]
            scores = model.score(items)
            check_scores(self.config.model, scores, len(items))
            values = [scores[i].logp - scores[i + 1].logp for i in range(0, len(scores), 2)]
            replies.add(*(Reply(key=key, raw=json.dumps(value)) for (key, _), value in zip(chunk, values, strict=True)))
        return {key: float(json.loads(reply.raw)) for key in asks if (reply := replies.get(key)) is not None}

    def _request(self, duel: Duel, criterion: str) -> tuple[Message, ...]:
        """As an endpoint is asked, but for the verdict alone. The fence's number follows from both answers, so that a
        run can be repeated and both orders share their beginning; who writes one answer cannot know it."""
        question = duel.question
        nonce = content_id("fence", self.identity, *sorted((duel.key(), duel.turned().key())))
        return rubric.request(
            criterion,
            question.language,
            question.prompt,
            duel.answer_a,
            duel.answer_b,
            nonce,
            closing="verdict_only",
        )


def read_clinicians(path: Path, names: Mapping[str, str]) -> list[Judgement]:
    """Clinicians' verdicts as the ranking page exports them; a clinician saw one order, drawn by chance.

    Args:
        names: question_id → question set; verdicts on other prompts keep the set of their own row.

    Raises:
        DataError: the file is missing or no export of the page.
    """
    return [
        row.model_copy(update={"question_set": names.get(row.prompt_id, row.question_set)})
        for row in io.read_jsonl(path, Judgement)
    ]
