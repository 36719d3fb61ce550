"""What de-identification finds, misses and spoils: ``python -m benchmarks.deid [--quick] [--data DIR] [--ner DIR]``.

Generated records whose templates and names were written before the rules and apart from them
(``deid_material``), a list of medical expressions that must stay, and real de-identified passages
(chineseblue, from ``--data`` or ``$IIMEDGPT_DATA``). Whoever writes rules does not read the material:
the result names categories, spellings and strata, never a template.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.deid_alignment import Canonical, score
from benchmarks.deid_records import Filled, fill, templates, traps
from benchmarks.deid_scoring import Deidentify, attribute, measure, summarise
from iimedgpt import chain
from iimedgpt.config import RecordsConfig, RunConfig
from iimedgpt.entities import EntityTagger
from iimedgpt.io import Secret
from iimedgpt.records.deid import Deidentifier
from iimedgpt.records.raw import RawRecord
from iimedgpt.types import Event, EventKind, Language

_TRUE_IDENTIFIER = re.compile(
    r"(?:19|20)\d\d\s*[年.\-/]\s*\d{1,2}(?:\s*[月.\-/]\s*\d{1,2})?[日号]?|\d{1,2}月(?:\d{1,2}[日号]?)?"
    r"|(?<!\d)(?:19|20)\d{6}(?!\d)"
    r"|(?<=号)为?[:：]?\s*[A-Za-z]{0,3}[\d.\-]{3,}|(?<=\()[A-Za-z]{1,2}\d{6,8}(?=\))"
    # numbers of specimens without the word 号: 术后病理(201131862), (mm20151902)
    r"|(?<![A-Za-z\d.])[A-Za-z]{0,2}\d{7,9}(?![\d.])"
)
_MASK = "■"
HERE = Path(__file__).parent
SEED = 4
N_PER_TEMPLATE = {"full": 40, "quick": 4}
N_PASSAGES_QUICK = 150
STRUCTURED = ("id_card", "passport", "phone", "email", "account", "medical_number", "plate", "bank_card")
SECRETS = tuple(Secret(bytes([number]) * 32) for number in (11, 23, 47, 89))  # fixed: the same numbers every run


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.deid", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="4 records a template instead of 40, 150 passages")
    parser.add_argument("--data", type=Path, default=None, help="folder that holds chineseblue ($IIMEDGPT_DATA)")
    parser.add_argument("--out", type=Path, default=None, help="result file (benchmarks/results/deid.json)")
    parser.add_argument("--ner", default=None, metavar="DIR", help="with a named-entity model (see records.ner)")
    options = parser.parse_args(arguments)
    size = "quick" if options.quick else "full"
    data = options.data or (Path(os.environ["IIMEDGPT_DATA"]) if os.environ.get("IIMEDGPT_DATA") else None)
    load_tagger = chain.tagger_loader(RunConfig(name="deid", records=RecordsConfig(ner=options.ner)))
    tagger = load_tagger() if load_tagger else None
    result = run(N_PER_TEMPLATE[size], data, N_PASSAGES_QUICK if options.quick else None, tagger)
    stem = "deid-ner" if tagger else "deid"
    out = options.out or HERE / "results" / (f"{stem}-quick.json" if options.quick else f"{stem}.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(table(result))
    print(f"\nwritten: {out}")


def run(
    n_per_template: int, data: Path | None, n_passages: int | None = None, tagger: EntityTagger | None = None
) -> dict[str, Any]:
    """Every measurement, as written to the result file."""
    deidentifiers = [Deidentifier(secret, tagger=tagger).deidentify for secret in SECRETS]
    records = [fill(template, number, SEED) for template in templates() for number in range(n_per_template)]
    outcomes = measure(records, deidentifiers)
    categories = summarise(outcomes, SEED)
    trapped = measure_traps(deidentifiers[0])
    passages = measure_passages(deidentifiers[0], data, n_passages)
    return {
        "what": {
            "n_templates": len(templates()),
            "n_records": len(records),
            "n_quarantined": outcomes.n_failed,
            "n_identifiers": sum(row["n"] for row in categories.values()),
            "seed": SEED,
            "python": platform.python_version(),
            "has_ner": tagger is not None,
        },
        "targets": judge(categories, trapped, passages),
        "categories": categories,
        "traps": trapped,
        "passages": passages,
        "speed": measure_speed(records, deidentifiers[0]),
    }


def measure_traps(deidentify: Deidentify) -> dict[str, Any]:
    """How many of the expressions, and of their sentences, do not come out as they went in."""
    groups: defaultdict[str, Counter[str]] = defaultdict(Counter)
    changed: defaultdict[str, list[str]] = defaultdict(list)
    seen: set[tuple[str, str]] = set()
    for number, trap in enumerate(traps()):
        text = deidentify(_record(trap.text, number, trap.language)).events[0].text
        before, after = Canonical.of(trap.text).text, Canonical.of(text).text
        groups[trap.group].update(n_sentences=1, n_sentences_changed=before != after)
        if (trap.group, trap.expression) not in seen:
            seen.add((trap.group, trap.expression))
            groups[trap.group].update(n_expressions=1)
        if Canonical.of(trap.expression).text not in after and trap.expression not in changed[trap.group]:
            changed[trap.group].append(trap.expression)
    return {
        "n_expressions": len(seen),
        "n_changed": sum(map(len, changed.values())),
        "n_sentences": sum(counts["n_sentences"] for counts in groups.values()),
        "n_sentences_changed": sum(counts["n_sentences_changed"] for counts in groups.values()),
        "groups": {name: {**counts, "changed": changed[name]} for name, counts in groups.items()},
    }


def measure_passages(deidentify: Deidentify, data: Path | None, n_max: int | None = None) -> dict[str, Any]:
    """False replacements per 1,000 characters of real passages, or the reason why they were not measured.

    The passages hold no names any more, but calendar dates and numbers of specimens (病理号 …) did stay in them:
    what is replaced there (``_TRUE_IDENTIFIER``) is right, and whatever else is replaced is false.
    """
    folder = data / "chineseblue" / "data" / "cEHRNER" if data else None
    if folder is None or not folder.is_dir():
        return {"skipped": "no folder chineseblue under --data or $IIMEDGPT_DATA"}
    lines = [
        line
        for name in ("train", "dev", "test")
        for line in (folder / f"{name}.json").read_text(encoding="utf-8").splitlines()
        if line.strip()
    ]
    texts = [json.loads(line)["text"] for line in lines][:n_max]
    false: Counter[str] = Counter()
    replaced: Counter[str] = Counter()
    for number, text in enumerate(texts):
        raw = _record(text, number, "zh")
        scrubbed = deidentify(raw)
        replaced.update(scrubbed.counts)
        # masked on both sides: dates of a list, all shifted, would be taken for one another
        before, after = (_TRUE_IDENTIFIER.sub(_MASK, version) for version in (text, scrubbed.events[0].text))
        masks = [(index, index + 1) for index, char in enumerate(before) if char == _MASK]
        changes = score(before, after, (), masks).changes
        false.update(attribute(raw, change.context, deidentify) for change in changes)
    n_chars = sum(map(len, texts))
    return {
        "n_passages": len(texts),
        "n_chars": n_chars,
        "n_replaced": dict(sorted(replaced.items())),
        "n_false": dict(sorted(false.items())),
        "false_per_1000_chars": 1000 * sum(false.values()) / n_chars,
    }


def measure_speed(records: Sequence[Filled], deidentify: Deidentify) -> dict[str, float]:
    """Characters and records a second of one process, best of three passes."""
    n_chars = sum(len(event.text) for filled in records for event in filled.raw.events)
    best_s = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        for filled in records:
            deidentify(filled.raw)
        best_s = min(best_s, time.perf_counter() - start)
    return {"n_chars": n_chars, "chars_per_s": n_chars / best_s, "records_per_s": len(records) / best_s}


def judge(categories: dict[str, Any], trapped: dict[str, Any], passages: dict[str, Any]) -> list[dict[str, Any]]:
    """The targets, each with what was measured."""

    def recall(row: str, stratum: str | None = None) -> float | None:
        cell = categories.get(row, {})
        value = (cell.get("strata", {}).get(stratum, {}) if stratum else cell).get("recall")
        return None if value is None else float(value)

    floors = [(f"recall of {row}", 1.0, recall(row)) for row in STRUCTURED]
    floors += [
        ("recall of names in the dictionary", 1.0, recall("name", "dictionary")),
        ("recall of labelled names", 0.99, recall("name", "labelled")),
        ("recall of labelled addresses", 0.99, recall("address", "labelled")),
        ("recall of dates", 0.995, recall("date")),
    ]
    per_1000 = passages.get("false_per_1000_chars")
    return [
        *({"what": what, "at_least": floor, "is": value, "met": value is not None and value >= floor}
          for what, floor, value in floors),
        {"what": "false replacements per 1,000 characters of real passages", "below": 1.0, "is": per_1000,
         "met": None if per_1000 is None else per_1000 < 1.0},
        {"what": "medical expressions changed", "at_most": 0, "is": trapped["n_changed"],
         "met": trapped["n_changed"] == 0},
    ]  # fmt: skip


def _record(text: str, number: int, language: Language) -> RawRecord:
    return RawRecord(str(number), "1", number, language, (Event(kind=EventKind.NOTE, text=text),))


def table(result: dict[str, Any]) -> str:
    """The result for the terminal."""
    lines = [
        f"{'category':<15}{'n':>7}{'recall':>9}  {'95 %':<16}{'precision':>9}{'F2':>8}  {'95 %':<16}"
        f"{'dictionary':>16}{'labelled':>16}{'bare':>16}"
    ]
    for row, cell in result["categories"].items():
        strata = [cell["strata"].get(name) for name in ("dictionary", "labelled", "bare")]
        lines.append(
            f"{row:<15}{cell['n']:>7}{_percent(cell['recall']):>9}  {_interval(cell['recall_interval']):<16}"
            f"{_percent(cell['precision']):>9}{_percent(cell['f2']):>8}  {_interval(cell['f2_interval']):<16}"
            + "".join(f"{_percent(s['recall']) + ' of ' + str(s['n']) if s else '-':>16}" for s in strata)
        )
    trapped, passages = result["traps"], result["passages"]
    lines.append(f"\nmedical expressions changed: {trapped['n_changed']} of {trapped['n_expressions']}")
    lines += [
        f"  {name}: {', '.join(group['changed'])}" for name, group in trapped["groups"].items() if group["changed"]
    ]
    lines.append(f"real passages: {json.dumps(passages, ensure_ascii=False)}")
    lines.append(f"speed: {result['speed']['chars_per_s']:,.0f} characters/s in one process")
    verdicts = {True: "met", False: "MISSED", None: "no data"}
    lines += [f"{verdicts[target['met']]:<8} {target['what']}: {target['is']}" for target in result["targets"]]
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _interval(bounds: Sequence[float] | None) -> str:
    return "" if bounds is None else f"[{100 * bounds[0]:.1f}, {100 * bounds[1]:.1f}]"


if __name__ == "__main__":
    main()
