"""A language model at an OpenAI-compatible endpoint as judge.

Both orders of a duel are two requests a criterion. A reply without a verdict is asked for again, a bounded
number of times; then it is INVALID, as is a request without a reply. All stops at the judge's deadline.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from iimedgpt import progress
from iimedgpt.endpoint import EndpointModel, UnansweredError
from iimedgpt.errors import GenerationError
from iimedgpt.evaluation.judge import turned
from iimedgpt.evaluation.judging import rubric
from iimedgpt.evaluation.judging.duels import Duel
from iimedgpt.evaluation.judging.replies import Replies, Reply, Usage
from iimedgpt.judging_config import JudgeConfig
from iimedgpt.types import Generator, Judgement, Verdict

MAX_FAILURES = 24  # in a row: then the endpoint is not there
RETRY_TEMPERATURE = 0.7  # at 0 the reply without a verdict would come again
NONCE_BYTES = 8

Outcome = tuple["Reply | str", int]  # a reply, or the reason why there is none; requests made


@dataclass(frozen=True)
class Ask:
    """One request: a duel in one order, on one criterion."""

    key: str
    duel: Duel
    criterion: str


@dataclass
class EndpointJudge:
    """See ``duels.PairwiseJudge``."""

    config: JudgeConfig
    folder: Path  # of the replies
    usage: Usage = field(default_factory=Usage)
    generator: Generator | None = None  # None: the endpoint of the configuration

    @property
    def judge_id(self) -> str:
        return f"{self.config.name} ({self.config.endpoint.model}, rubric {rubric.VERSION})"

    def judge(self, duels: Sequence[Duel]) -> list[Judgement]:
        """One row a duel and criterion.

        Raises:
            ConfigError: no address, or a host that may not be sent text of records.
            GenerationError: the endpoint refuses the key, or nothing answers; the replies so far are kept.
        """
        criteria = self.config.criteria
        judged = [duel for duel in duels if duel.unasked("", "") is None]
        asks = {
            ask.key: ask
            for duel in judged
            for criterion in criteria
            for ask in (self._ask(duel, criterion), self._ask(duel.turned(), criterion))
        }
        replies = Replies(self.folder / f"{self.config.name}.jsonl")
        missing = [ask for ask in asks.values() if ask.key not in replies]
        self.usage.n_known += len(asks) - len(missing)
        self._fetch(missing, replies)
        for key in asks:
            if (reply := replies.get(key)) is not None:
                self.usage.count(reply)
        return [self._row(duel, criterion, replies) for duel in duels for criterion in criteria]

    def _ask(self, duel: Duel, criterion: str) -> Ask:
        asked = (self.config.endpoint.model, rubric.digest(criterion, duel.question.language))
        return Ask(duel.key(*asked, criterion, str(self.config.max_new_tokens)), duel, criterion)

    def _row(self, duel: Duel, criterion: str, replies: Replies) -> Judgement:
        if (row := duel.unasked(self.judge_id, criterion)) is not None:
            return row
        found = [replies.get(self._ask(each, criterion).key) for each in (duel, duel.turned())]
        ab, ba = (Verdict.INVALID if reply is None else rubric.parse_verdict(reply.raw) for reply in found)
        return duel.judgement(self.judge_id, criterion, ab, turned(ba))

    def _fetch(self, missing: Sequence[Ask], replies: Replies) -> None:
        """Ask for what is missing, several at once; each reply is on disk before the next is waited for."""
        if not missing:
            return
        model = self.generator or EndpointModel(self.config.endpoint)
        ends = time.monotonic() + self.config.deadline_s
        n_failures = 0
        pool = ThreadPoolExecutor(self.config.endpoint.n_parallel)
        try:
            with progress.bar(f"judge {self.config.name}", len(missing)) as bar:
                for result, n_requests in self._results(pool, model, missing, ends):
                    bar.advance()
                    self.usage.n_asked += n_requests
                    self.usage.n_repeated += max(0, n_requests - 1)
                    if isinstance(result, Reply):
                        replies.add(result)
                        n_failures = 0
                        continue
                    self.usage.failures[result] += 1
                    n_failures += result != "deadline"
                    if n_failures == MAX_FAILURES:
                        raise GenerationError(
                            f"judge '{self.config.name}': {n_failures} requests in a row got no reply: {result}",
                            hint="the replies so far are kept; the same command asks for the rest",
                        )
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            if isinstance(model, EndpointModel):
                model.close()

    def _results(
        self, pool: ThreadPoolExecutor, model: Generator, missing: Sequence[Ask], ends: float
    ) -> Iterator[Outcome]:
        """Replies, or reasons why there is none, as they come; what is not there at the deadline is given up."""
        waiting: set[Future[Outcome]] = {pool.submit(self._reply, ask, model, ends) for ask in missing}
        while waiting:
            done, waiting = wait(waiting, max(0.0, ends - time.monotonic()), FIRST_COMPLETED)
            for future in done:
                yield future.result()
            if not done:
                for future in waiting:
                    future.cancel()
                yield from [("deadline", 0)] * len(waiting)
                return

    def _reply(self, ask: Ask, model: Generator, ends: float) -> Outcome:
        """The first reply with a verdict, else the last one; a reason where there is none at all."""
        duel = ask.duel
        text = "\n".join((*(message.content for message in duel.question.prompt), duel.answer_a, duel.answer_b))
        said, n_in, n_out, n_requests = "", 0, 0, 0
        for repetition in range(self.config.n_retries + 1):
            if time.monotonic() >= ends:
                return "deadline", n_requests
            prompt = rubric.request(
                ask.criterion,
                duel.question.language,
                duel.question.prompt,
                duel.answer_a,
                duel.answer_b,
                fresh_nonce(text),
            )
            n_requests += 1
            try:
                (reply,) = model.generate(
                    [prompt],
                    max_new_tokens=self.config.max_new_tokens,
                    temperature=RETRY_TEMPERATURE if repetition else 0.0,
                    seed=[repetition],
                )
            except UnansweredError as error:
                return error.reason, n_requests
            said, n_in, n_out = reply.text, n_in + (reply.n_tokens_in or 0), n_out + (reply.n_tokens_out or 0)
            if rubric.parse_verdict(said) is not Verdict.INVALID:
                break
        return Reply(key=ask.key, raw=said, n_requests=n_requests, tokens_in=n_in, tokens_out=n_out), n_requests


def fresh_nonce(text: str) -> str:
    """A random number that stands nowhere in the text, so that nothing in it can close its own fence."""
    while True:
        nonce = secrets.token_hex(NONCE_BYTES)
        if nonce not in text:
            return nonce
