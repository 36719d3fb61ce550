"""From measured items to scores: one value per item, then means, differences and intervals by patient."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from iimedgpt import stats
from iimedgpt.text import unique
from iimedgpt.types import Score


@dataclass(frozen=True)
class Measured:
    """One value of one item. ``weight`` is its size in the mean, e.g. tokens for nats per token."""

    key: str
    task: str | None
    group: str
    value: float
    weight: float = 1.0


@dataclass
class Series:
    """One metric of one model on many items.

    ``is_pooled``: the overall value weighs items alike; otherwise it is the mean over tasks.
    """

    name: str
    model: str
    unit: str
    how: str
    is_share: bool = True
    higher_is_better: bool = True
    is_pooled: bool = False
    how_by_task: Mapping[str | None, str] = field(default_factory=dict)
    items: dict[str, Measured] = field(default_factory=dict)
    invalid: dict[str, str | None] = field(default_factory=dict)  # key → task

    def add(self, key: str, task: str | None, group: str, value: float | None, weight: float = 1.0) -> None:
        """Add one item; None counts it as invalid."""
        if value is None:
            self.invalid[key] = task
        else:
            self.items[key] = Measured(key, task, group, value, weight)

    @property
    def tasks(self) -> list[str]:
        """Tasks in order of appearance, those with invalid items only included."""
        seen = [*(item.task for item in self.items.values()), *self.invalid.values()]
        return unique(task for task in seen if task is not None)

    def subset(self, suffix: str, holds: Callable[[str], bool]) -> Series:
        """The items whose key is in a subset, under the name ``metric:suffix``."""
        items = {key: item for key, item in self.items.items() if holds(key)}
        invalid = {key: task for key, task in self.invalid.items() if holds(key)}
        return replace(self, name=f"{self.name}:{suffix}", items=items, invalid=invalid)


class Scoreboard:
    """Collects series, estimates them with intervals clustered by patient, and writes ``Score`` rows."""

    def __init__(self, n_resamples: int, seed: int) -> None:
        self.n_resamples, self.seed = n_resamples, seed
        self.series: dict[tuple[str, str], Series] = {}
        self.estimates: dict[tuple[str, str, str | None], stats.Estimate] = {}
        self.scores: list[Score] = []
        self.undefined: list[dict[str, object]] = []  # nothing valid was measured: no number is written

    def add(self, series: Series) -> None:
        """Score a series: one row per task and one over all (task None). An empty one is left out."""
        if not series.items and not series.invalid:
            return
        self.series[series.name, series.model] = series
        for task in (None, *series.tasks):
            self._score(series, task)

    def add_all(self, many: Iterable[Series]) -> None:
        for series in many:
            self.add(series)

    def value(self, name: str, model: str, task: str | None = None) -> stats.Estimate | None:
        """The estimate of a metric, None where it was not measured."""
        return self.estimates.get((name, model, task))

    def best_control(self, name: str, controls: Sequence[str], task: str | None = None) -> str | None:
        """The control with the best value of a metric (the earliest of equals)."""
        best: tuple[float, str] | None = None
        for control in controls:
            estimate = self.value(name, control, task)
            if estimate is None or estimate.value is None:
                continue
            good = estimate.value if self.series[name, control].higher_is_better else -estimate.value
            if best is None or good > best[0]:
                best = (good, control)
        return best[1] if best else None

    def compare(
        self,
        name: str,
        model: str,
        other: tuple[str, str] | Mapping[str | None, tuple[str, str]],
        label: str,
    ) -> None:
        """Score ``model − other`` on the items both have.

        ``other`` is the (name, model) of one series, or of one series per task (key None: overall).
        """
        ours = self.series.get((name, model))
        if ours is None:
            return
        for task in (None, *ours.tasks):
            rival = other.get(task) if isinstance(other, Mapping) else other
            if rival is not None and rival in self.series:
                self._score(_difference(ours, self.series[rival], label), task)

    def add_score(self, score: Score) -> None:
        """A number that is no mean of items, e.g. a p value."""
        self.scores.append(score)

    def _score(self, series: Series, task: str | None) -> None:
        items = [item for item in series.items.values() if task is None or item.task == task]
        n_invalid = sum(task in (None, of) for of in series.invalid.values())
        estimate = self._estimate(items, series.is_pooled, series.is_share)
        self.estimates[series.name, series.model, task] = estimate
        if estimate.value is None:
            self.undefined.append({"name": series.name, "task": task, "model": series.model, "n_invalid": n_invalid})
            return
        how = series.how_by_task.get(task, series.how)
        if task is None and not series.is_pooled and len(series.tasks) > 1:
            how = f"{how}; mean over {len({item.task for item in items})} tasks"
        self.scores.append(
            Score(
                name=series.name,
                value=estimate.value,
                unit=series.unit,
                n=estimate.n,
                n_invalid=n_invalid,
                ci_low=estimate.low,
                ci_high=estimate.high,
                method=f"{how}; {estimate.method}",
                task=task,
                model=series.model,
            )
        )

    def _estimate(self, items: Sequence[Measured], is_pooled: bool, is_share: bool) -> stats.Estimate:
        size: defaultdict[str | None, float] = defaultdict(float)
        for item in items:
            size[None if is_pooled else item.task] += item.weight
        weights = [item.weight / size[None if is_pooled else item.task] for item in items]
        return stats.bootstrap_ratio(
            [item.value * weight for item, weight in zip(items, weights, strict=True)],
            weights,
            [item.group for item in items],
            n_resamples=self.n_resamples,
            seed=self.seed,
            is_share=is_share,
        )


def _difference(ours: Series, theirs: Series, label: str) -> Series:
    items = {
        key: replace(item, value=item.value - theirs.items[key].value)
        for key, item in ours.items.items()
        if key in theirs.items
    }
    unpaired = {key: item.task for key, item in ours.items.items() if key not in theirs.items}
    return replace(
        ours,
        name=f"{ours.name}_{label}",
        how=f"paired difference to {theirs.model}"
        + (f", its {theirs.name}" if theirs.name != ours.name else "")
        + ", on items both have",
        how_by_task={},
        is_share=False,
        items=items,
        invalid={**ours.invalid, **unpaired},
    )
