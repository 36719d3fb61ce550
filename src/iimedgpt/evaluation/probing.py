"""What models are asked beside the records: exams, safety probes, sentences of trained records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from iimedgpt import io
from iimedgpt.config import RunConfig
from iimedgpt.evaluation import exams, memorisation, safety
from iimedgpt.evaluation.exam_sets import ExamItem
from iimedgpt.evaluation.inquiry import Inquiry, Reply
from iimedgpt.evaluation.material import Material
from iimedgpt.evaluation.memorisation import Sentence
from iimedgpt.evaluation.probe_sets import Probe
from iimedgpt.evaluation.scoreboard import Scoreboard
from iimedgpt.evaluation.tables import MODELS
from iimedgpt.run import StageContext


@dataclass(frozen=True)
class Probing:
    """All of it, each part empty where the configuration does not ask for it."""

    config: RunConfig
    questions: list[ExamItem]
    probes: list[Probe]
    asked_back: list[Sentence]

    @classmethod
    def prepare(cls, ctx: StageContext, material: Material) -> Probing:
        """Read and choose.

        Raises:
            DataError: a file that cannot be read, by file, line and field.
        """
        n, seed = ctx.config.exams.memorisation_n, ctx.config.seed
        training = material.training.conversations
        return cls(
            ctx.config,
            exams.read_all(ctx.config),
            safety.read_all(ctx.config, material.free),
            memorisation.select(training, material.items, n, seed) if n else [],
        )

    def ask(self, inquiry: Inquiry) -> None:
        exams.ask(inquiry, self.questions, self.config)
        safety.ask(inquiry, self.probes)
        memorisation.ask(inquiry, self.asked_back)

    def score(self, ctx: StageContext, replies: Mapping[str, Reply]) -> None:
        """``exams.jsonl`` and ``probes.jsonl``, apart from the scores of records: a subject is no clinical task."""
        tables = []
        if self.questions:
            board = self._board(ctx)
            ctx.facts["exams"] = exams.measure(board, self.questions, replies, self.config)
            io.write_jsonl(ctx.output("exams.jsonl"), board.scores)
            tables.append(exams.table(board, self.config, MODELS))
        board = self._board(ctx)
        if self.probes:
            ctx.facts["safety"] = safety.measure(board, self.probes, replies)
            tables.append(safety.table(board, self.probes, MODELS))
        if self.config.exams.memorisation_n:
            ctx.facts["memorisation"] = memorisation.measure(board, self.asked_back, replies)
            tables.append(memorisation.table(board, MODELS))
        if board.scores:
            io.write_jsonl(ctx.output("probes.jsonl"), board.scores)
        ctx.facts["tables"] = [*ctx.facts.get("tables", []), *tables]

    def _board(self, ctx: StageContext) -> Scoreboard:
        return Scoreboard(ctx.config.evaluate.n_bootstrap, ctx.config.seed)
