"""Stage ``report``: one offline HTML file, the same in Markdown, the numbers as JSON, the figures as SVG.

Nothing in the report is newer than the files it was made from: no clock, no seconds, no paths, so
that the same run gives the same bytes. Text of a record is shown only where the record is synthetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from iimedgpt import io
from iimedgpt.report import controls, evidence, plots, rivals
from iimedgpt.report.answer import answer
from iimedgpt.report.card import write_card
from iimedgpt.report.evidence import Table
from iimedgpt.report.facts import MODELS, Cell, RunFacts, cell_of, finite, gather, parse_main_table
from iimedgpt.report.measures import METRICS, unbroken
from iimedgpt.report.typeface import font_face, installed_font
from iimedgpt.report.words import Words
from iimedgpt.run import StageContext
from iimedgpt.types import Conversation

_MARKDOWN_LIVE = frozenset("\\`*_[]<>#|&!~$")


@dataclass(frozen=True)
class FigureBlock:
    """One numbered figure: an SVG, or the example (``svg`` None and ``name`` example), or nothing."""

    name: str
    number: int
    caption: str
    svg: Markup | None = None


@dataclass(frozen=True)
class Chapter:
    """A heading with its figures and tables."""

    key: str
    title: str
    figures: tuple[FigureBlock, ...] = ()
    tables: tuple[Table, ...] = ()


def run(ctx: StageContext) -> None:
    """Write report.html, report.md, report.json and figures/*.svg.

    Raises:
        DataError: a file of the run is there and broken.
    """
    facts = gather(ctx.directory.parent)
    words = Words(ctx.config.report.language)
    table = _main_cells(facts)
    drawn = plots.draw_all(facts, ctx.config, words)
    for name, svg in drawn.items():
        path = ctx.output(f"figures/{name}.svg")
        path.unlink(missing_ok=True)  # a figure of an earlier run is not one of this
        if svg is not None:
            io.write_text(path, svg)
    page = _page(ctx, facts, words, table, drawn)
    environment = _environment()
    html = environment.get_template("report.html.j2")
    face = font_face(installed_font(), html.render(page, font_face=""))
    io.write_text(ctx.output("report.html"), html.render(page, font_face=Markup(face)))
    io.write_text(ctx.output("report.md"), environment.get_template("report.md.j2").render(page))
    io.write_json(ctx.output("report.json"), _numbers(facts, table, page))
    write_card(ctx.config, ctx.directory.parent, ctx.directory, facts)
    n_drawn = sum(svg is not None for svg in drawn.values())
    ctx.keep(len(facts.manifests))
    ctx.facts.update(answer=page["answer"], n_figures=n_drawn, n_stages=len(facts.manifests))


def _environment() -> Environment:
    """Autoescape for every template: text of a run never becomes markup."""
    environment = Environment(
        loader=PackageLoader("iimedgpt.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["unbroken"] = unbroken
    environment.filters["md"] = markdown_text
    environment.filters["fence"] = markdown_fence
    return environment


def markdown_text(text: str) -> Markup:
    """Text with every live Markdown and HTML character made inert, on one line."""
    flat = " ".join(str(text).split())
    inert = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
    return Markup("".join(inert.get(char, f"\\{char}") if char in _MARKDOWN_LIVE else char for char in flat))


def markdown_fence(text: str) -> Markup:
    """Text as an indented code block, which nothing inside can end."""
    return Markup("\n".join(f"    {line}" for line in str(text).splitlines()))


def _main_cells(facts: RunFacts) -> dict[str, dict[str, Cell]]:
    """The evaluation's main table; where it has none, the scores over all tasks."""
    manifest = facts.manifests.get("evaluate")
    table = parse_main_table(manifest.facts) if manifest else {}
    for model in MODELS:
        for metric in METRICS:
            score = facts.score(metric, model, None)
            if score is not None and table.get(model, {}).get(metric, Cell()).value is None:
                table.setdefault(model, {})[metric] = cell_of(score)
    return table


def _page(
    ctx: StageContext,
    facts: RunFacts,
    words: Words,
    table: Mapping[str, Mapping[str, Cell]],
    drawn: Mapping[str, str | None],
) -> dict[str, Any]:
    tasks = facts.tasks(ctx.config.instructions.tasks)
    n_patients = _n_patients(ctx, facts)
    return {
        "t": words,
        "is_there": lambda file: (ctx.directory.parent / file).exists(),
        "language": words.language,
        "title": ctx.config.report.title or ctx.config.name,
        "run": ctx.config.name,
        "seed": ctx.config.seed,
        "answer": answer(words, table, facts, n_patients),
        "banners": _banners(facts, words),
        "main": evidence.main_table(words, table),
        "chapters": _chapters(facts, words, tasks, drawn),
        "example": _example(facts.example, words),
        "limits": _limits(facts, words),
        "settings": evidence.settings_table(words, facts),
        "manifests": evidence.manifests_table(words, facts),
    }


def _n_patients(ctx: StageContext, facts: RunFacts) -> int | None:
    said = finite(facts.fact("evaluate", "n_patients"))
    if said is not None:
        return int(said)
    return None if ctx.config.evaluate.n_records else len(facts.held_out) or None


def _banners(facts: RunFacts, words: Words) -> list[str]:
    banners = []
    if facts.is_synthetic:
        banners.append(words("partly_synthetic" if facts.is_real else "synthetic"))
    for name, source in facts.sources.items():
        if source.caveats and not source.is_synthetic:
            banners.append(f"{words('caveats')}: {name}: {'; '.join(source.caveats)}.")
    return [*banners, words("not_device")]


def _chapters(facts: RunFacts, words: Words, tasks: Sequence[str], drawn: Mapping[str, str | None]) -> list[Chapter]:
    def figure(name: str, number: int, caption: str = "") -> FigureBlock:
        svg = drawn.get(name)
        return FigureBlock(name, number, words(f"fig_{caption or name}"), None if svg is None else Markup(svg))

    example = "example" if facts.example else "template"
    met = tuple(rivals.tables(facts, words))
    given = tuple(evidence.given_tables(words, facts))
    counts = evidence.counts_table(words, facts, tasks)
    unsupported = evidence.unsupported_table(words, facts, tasks)
    templates = () if facts.example else (evidence.templates_table(words, facts),)
    return [
        Chapter(
            "pipeline",
            words("pipeline"),
            (figure("pipeline", 1),),
            (evidence.sources_table(words, facts), evidence.stages_table(words, facts)),
        ),
        Chapter(
            "data",
            words("data"),
            (figure("distribution", 2), figure("example", 3, example)),
            (*templates, counts, unsupported),
        ),
        Chapter("training", words("training"), (figure("curves", 4),), (evidence.pairs_table(words, facts),)),
        Chapter(
            "comparison",
            words("comparison"),
            (figure("verdicts", 5),),
            (evidence.verdicts_table(words, facts),),
        ),
        *([Chapter("rivals", words("rivals"), (figure("rivals", 6),), met)] if met else []),
        *([Chapter("exams", words("exams"), (), given)] if given else []),
        Chapter(
            "ablation",
            words("ablation"),
            (figure("ablation", 7 if met else 6),),
            (
                evidence.tasks_table(words, facts, tasks),
                evidence.controls_table(words, facts, tasks),
                *(table for table in (evidence.errors_table(words, facts),) if table.rows),
                *(table for table in (evidence.subsets_table(words, facts),) if table.rows),
                *controls.control_tables(words, facts, tasks),
            ),
        ),
    ]


def _example(example: Conversation | None, words: Words) -> dict[str, Any] | None:
    """The synthetic example's messages; None for real records, whose text is never shown."""
    if example is None or not example.is_synthetic:
        return None
    turns = [
        {"role": message.role, "label": words(message.role), "text": message.content} for message in example.messages
    ]
    return {"task": words.task(example.task or ""), "source": example.source, "turns": turns}


def _limits(facts: RunFacts, words: Words) -> list[str]:
    """What the evaluation says against itself, then what always holds and it has not said."""
    lines = [*_lines(facts.fact("evaluate", "caveats")), *_lines(facts.fact("evaluate", "limits"))]
    standing = ["limit_overlap", "limit_clinical"]
    if not lines or words.language == "zh":  # the evaluation speaks English
        standing += ["limit_interval", "limit_judge", *(["limit_synthetic"] if facts.is_synthetic else [])]
    return [*lines, *map(words, standing)]


def _lines(said: object) -> list[str]:
    if isinstance(said, str):
        return [said]
    return [str(line) for line in said] if isinstance(said, list) else []


def _numbers(facts: RunFacts, table: Mapping[str, Mapping[str, Cell]], page: Mapping[str, Any]) -> dict[str, Any]:
    """The report's numbers as plain JSON: no text of records, None for what is not a number."""
    tables = [page["main"], *(one for chapter in page["chapters"] for one in chapter.tables)]
    verdicts = [
        {"model_a": a, "model_b": b, "judge": judge, "criterion": criterion, **dict(sorted(counts.items()))}
        for (a, b, judge, criterion), counts in evidence.verdict_rows(facts)
    ]
    scores = [score.model_dump(mode="json") | {"value": finite(score.value)} for score in facts.scores]
    return {
        "title": page["title"],
        "run": page["run"],
        "seed": page["seed"],
        "answer": page["answer"],
        "banners": page["banners"],
        "limits": page["limits"],
        "main_table": {m: {name: asdict(cell) for name, cell in cells.items()} for m, cells in table.items()},
        "scores": [{**row, "ci_low": finite(row["ci_low"]), "ci_high": finite(row["ci_high"])} for row in scores],
        "verdicts": verdicts,
        "dropped": {name: made.n_dropped for name, made in facts.manifests.items()},
        "tables": {t.key: {"columns": t.columns, "rows": t.rows, "from": t.sources} for t in tables},
        "manifests": {
            name: {"key": made.key, "config_hash": made.config_hash, "outputs": made.outputs}
            for name, made in facts.manifests.items()
        },
    }
