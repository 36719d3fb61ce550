"""The data card: what an instruction set is made of, what was left out, and what it cannot be used for.

Counts and lengths only, no text of a record. Written beside the report and into every export.
After *Datasheets for Datasets* (arXiv 1803.09010) and the dataset cards of Hugging Face.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iimedgpt import clinical, io
from iimedgpt.config import RunConfig
from iimedgpt.report import evidence
from iimedgpt.report.card_words import sentence
from iimedgpt.report.evidence import Table
from iimedgpt.report.facts import OTHER, SPLITS, RunFacts, gather
from iimedgpt.report.lengths import Panel, lengths
from iimedgpt.report.measures import MISSING, count
from iimedgpt.report.words import Words
from iimedgpt.types import Conversation, EventKind, Record

CARD = "card.md"
FIGURE = "lengths.svg"
FEW = 5  # patients; a department of fewer might point at one of them
QUANTILES = (0.05, 0.5, 0.95, 1.0)
_MADE_BEFORE_TRAINING = ("records", "instructions", "mixture")


@dataclass
class Sizes:
    """Lengths in characters of one task's prompts and answers."""

    prompts: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)


def write_card(config: RunConfig, run_dir: Path, folder: Path, facts: RunFacts | None = None) -> None:
    """Write card.md and lengths.svg into a folder, from a run's files.

    Args:
        facts: what is known of the run already; read where it is not given.

    Raises:
        DataError: a file of the run is there and broken.
    """
    facts, words = facts or gather(run_dir), Words(config.report.language)
    sizes, departments = read_sizes(run_dir), read_departments(run_dir)
    io.write_text(folder / FIGURE, _figure(sizes, words))
    io.write_text(folder / CARD, "\n".join(_card(config, facts, sizes, departments, words)) + "\n")


def read_sizes(run_dir: Path) -> dict[str, Sizes]:
    """Task → lengths over all splits of the mixture."""
    sizes: dict[str, Sizes] = {}
    for split in SPLITS:
        path = run_dir / f"mixture/{split}.jsonl"
        for item in io.read_jsonl(path, Conversation) if path.exists() else ():
            size = sizes.setdefault(item.task or OTHER, Sizes())
            size.prompts.append(sum(len(message.content) for message in item.prompt))
            size.answers.append(len(item.response))
    return sizes


def read_departments(run_dir: Path) -> Counter[str | None]:
    """Department by its known name → patients; None counts those whose records name none."""
    found: dict[str, set[str]] = {}
    path = run_dir / "records/records.jsonl"
    for record in io.read_jsonl(path, Record) if path.exists() else ():
        named = found.setdefault(record.patient_id, set())
        for event in record.events:
            named.update(clinical.departments(event.text) if event.kind is EventKind.DEPARTMENT else ())
    counts: Counter[str | None] = Counter()
    for named in found.values():
        counts.update(named or (None,))
    return counts


def _figure(sizes: Mapping[str, Sizes], words: Words) -> str:
    panels = [
        Panel(sentence(words, "prompt"), [n for size in sizes.values() for n in size.prompts]),
        Panel(sentence(words, "answer"), [n for size in sizes.values() for n in size.answers]),
    ]
    return lengths(sentence(words, "lengths"), panels, sentence(words, "characters"))


def _card(
    config: RunConfig,
    facts: RunFacts,
    sizes: Mapping[str, Sizes],
    departments: Counter[str | None],
    words: Words,
) -> Iterator[str]:
    def say(key: str, **values: Any) -> str:
        return sentence(words, key).format(**values)

    tasks = facts.tasks(config.instructions.tasks)
    yield f"# {say('title')}: {_inert(config.report.title or config.name)}\n\n{say('what')}\n"
    yield f"## {say('sources')}\n"
    yield markdown(evidence.sources_table(words, facts))
    yield from _other_sources(facts, words)
    yield f"## {say('counts')}\n"
    yield markdown(evidence.counts_table(words, facts, tasks))
    yield f"## {say('departments')}\n\n{say('departments_note', n=FEW)}\n"
    yield _rows((say("department"), words("patients")), _departments(departments, say("few", n=FEW), say("unnamed")))
    yield f"## {say('lengths')}\n\n{say('lengths_note')}\n\n![{say('alt')}]({FIGURE})\n"
    yield _rows(
        (words("task"), "n", *(f"{say(what)}: {say('quantiles')}" for what in ("prompt", "answer"))),
        [
            (words.task(task), count(len(size.answers)), _quantiles(size.prompts), _quantiles(size.answers))
            for task, size in sizes.items()
        ],
    )
    yield f"## {say('drops')}\n"
    yield markdown(evidence.stages_table(words, _before_training(facts)))
    yield f"## {say('deid')}\n\n{say('deid_note')}\n"
    deid = facts.fact("records", "n_deidentified") or {}
    yield _rows((say("category"), say("replaced")), [(name, count(n)) for name, n in sorted(deid.items())])
    yield from _splits(config, facts, words)
    if facts.pairs:
        yield f"## {say('pairs')}\n"
        yield markdown(evidence.pairs_table(words, facts))
    yield f"## {say('provenance')}\n\n{say('provenance_note')}\n"
    yield markdown(evidence.manifests_table(words, _before_training(facts)))
    versions = {made.versions.get("iimedgpt", MISSING) for made in facts.manifests.values()}
    yield f"iimedgpt {', '.join(sorted(versions))}\n"
    yield f"## {say('limits')}\n"
    limits = ["limit_deid", "limit_answers", "limit_hospital", *(["limit_synthetic"] if facts.is_synthetic else [])]
    yield "\n".join(f"- {say(key)}" for key in (*limits, "limit_device"))


def _other_sources(facts: RunFacts, words: Words) -> Iterator[str]:
    """Conversations by licence: record sources have their own table, other data only this one."""
    per_license = facts.fact("mixture", "per_license")
    if per_license:
        yield _rows((words("license"), words("conversations")), [(key, count(n)) for key, n in per_license.items()])


def _departments(departments: Counter[str | None], few: str, unnamed: str) -> list[tuple[str, str]]:
    named = [(name, n) for name, n in departments.items() if name is not None]
    rows = [(name, count(n)) for name, n in sorted(named, key=lambda item: (-item[1], item[0])) if n >= FEW]
    n_few = sum(1 for _, n in named if n < FEW)
    rows += [(f"{n_few} × {few}", MISSING)] if n_few else []
    return rows + ([(unnamed, count(departments[None]))] if departments[None] else [])


def _quantiles(n_chars: Sequence[int]) -> str:
    ordered = sorted(n_chars)
    return " / ".join(f"{ordered[min(len(ordered) - 1, int(q * len(ordered)))]:,}" for q in QUANTILES)


def _before_training(facts: RunFacts) -> RunFacts:
    made = {name: facts.manifests[name] for name in _MADE_BEFORE_TRAINING if name in facts.manifests}
    return RunFacts(manifests=made)


def _splits(config: RunConfig, facts: RunFacts, words: Words) -> Iterator[str]:
    def say(key: str, **values: Any) -> str:
        return sentence(words, key).format(**values)

    mixture = config.mixture
    shares = {"test": mixture.test_frac, "validation": mixture.validation_frac}
    note = say("splits_note", **shares, diseases=mixture.hold_out_diseases_frac, seed=config.seed)
    yield f"## {say('splits')}\n\n{note}\n"
    counted = facts.fact("mixture", "splits") or {}
    names = ("n_patients", "n_records", "n_conversations", "n_diseases")
    yield _rows(
        (say("split"), words("patients"), words("records"), words("conversations"), say("diseases")),
        [(words(split), *(count(counted[split].get(name)) for name in names)) for split in SPLITS if split in counted],
    )
    overlap = facts.fact("mixture", "overlap_of_test")
    if overlap:
        shared = {key: overlap.get(f"n_{key}", 0) for key in ("patients", "prompts")}
        yield say("overlap", **shared, diseases=overlap.get("n_held_out_diseases", 0)) + "\n"
    manifest = facts.manifests.get("mixture")
    n_contaminated = manifest.n_dropped.get("contaminated", 0) if manifest else 0
    yield f"## {say('decontamination')}\n\n{say('decontamination_note', n=n_contaminated)}\n"


def markdown(table: Table) -> str:
    """A table of the report in Markdown."""
    return _rows(table.columns, table.rows)


def _rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(_inert, line)) + " |" for line in lines) + "\n"


def _inert(text: str) -> str:
    """Names and licences on one line, without markup."""
    flat = " ".join(str(text).split())
    return flat.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "\\`")
