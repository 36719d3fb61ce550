"""Do grouped steps or the weighting of answers cost anything? ``python -m benchmarks.grouping [--quick]``.

The same SFT on the demo's synthetic records, four ways; held-out loss per answer token, per task,
against the default (tasks of a record in one step, tokens weighted alike), patients resampled.
A shuffled step holds as many conversations as a grouped one does on average.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measure import machine, versions
from iimedgpt import chain, io, recipe
from iimedgpt.config import RunConfig
from iimedgpt.run import execute
from iimedgpt.stats import Estimate, bootstrap_ratio
from iimedgpt.types import Conversation

ROOT = Path(__file__).parent
ARMS = {
    "grouped, token": {"grouping": "record", "weighting": "token"},
    "shuffled, token": {"grouping": "shuffled", "weighting": "token"},
    "grouped, answer": {"grouping": "record", "weighting": "answer"},
    "grouped, task": {"grouping": "record", "weighting": "task"},
}
DEFAULT = "grouped, token"


def main() -> None:
    """Train and score every arm, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="8 training records and 6 to score")
    parser.add_argument("--seeds", type=int, default=1, help="training runs an arm")
    parser.add_argument("--records", type=int, default=64, help="training records")
    parser.add_argument("--held-out", type=int, default=60, help="records to score")
    arguments = parser.parse_args()
    n_train, n_test = (8, 6) if arguments.quick else (arguments.records, arguments.held_out)
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            row
            for seed in range(arguments.seeds)
            for name in ARMS
            for row in _losses(name, _config(Path(folder), name, seed, n_train), n_test)
        ]
    result = {
        "command": "python -m benchmarks.grouping " + " ".join(sys.argv[1:]),
        "n_train_records": n_train,
        "n_seeds": arguments.seeds,
        "arms": {name: _summary(rows, name) for name in ARMS},
        "machine": machine(),
        "versions": versions(),
    }
    Console().print(_table(result["arms"]))
    name = "grouping-quick.json" if arguments.quick else "grouping.json"
    (ROOT / "results").mkdir(exist_ok=True)
    (ROOT / "results" / name).write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _config(folder: Path, arm: str, seed: int, n_train: int) -> RunConfig:
    """The demo's recipe with this arm's options; a shuffled step counts conversations."""
    sft: dict[str, Any] = dict(ARMS[arm])
    base = recipe.load(ROOT.parent / "recipes" / "demo.toml", [f"runs_dir={folder}", f"seed={seed}"])
    if sft["grouping"] == "shuffled":
        sft["groups_per_step"] = round(base.sft.groups_per_step * _conversations_per_record(folder, seed))
    overrides = [f"sft.{key}={value}" for key, value in sft.items()]
    name = f"seed{seed}-{list(ARMS).index(arm)}"
    return recipe.load(
        ROOT.parent / "recipes" / "demo.toml",
        [f"runs_dir={folder}", f"name={name}", f"seed={seed}", f"mixture.n_max_train_records={n_train}", *overrides],
    )


def _conversations_per_record(folder: Path, seed: int) -> float:
    rows = list(io.read_jsonl(folder / f"seed{seed}-0" / "mixture" / "train.jsonl", Conversation))
    return len(rows) / len({row.record_id or row.conversation_id for row in rows})


def _losses(arm: str, run: RunConfig, n_test: int) -> list[dict[str, Any]]:
    """Nats and tokens of every held-out answer after this arm's training."""
    from iimedgpt.engine.adapters import load_adapters
    from iimedgpt.engine.generate import TrieLanguageModel
    from iimedgpt.engine.models import SFT, load_model

    for name in ("records", "instructions", "mixture", "sft"):
        execute(chain.stage_named(name), run)
    loaded = load_model(run.model)
    load_adapters(loaded, [(SFT, run.run_dir / "sft" / "adapter")])
    rows = _held_out(run, n_test)
    scores = TrieLanguageModel(loaded, SFT, (SFT,)).score([(row.prompt, row.response) for row in rows])
    return [
        {
            "arm": arm,
            "task": row.task,
            "patient": f"{run.seed}:{row.group_id}",
            "nats": -score.logp,
            "tokens": score.n_tokens,
            "id": f"{run.seed}:{row.conversation_id}",
        }
        for row, score in zip(rows, scores, strict=True)
    ]


def _held_out(run: RunConfig, n_records: int) -> list[Conversation]:
    rows = list(io.read_jsonl(run.run_dir / "mixture" / "test.jsonl", Conversation))
    chosen = list(dict.fromkeys(row.record_id for row in rows))[:n_records]
    return [row for row in rows if row.record_id in chosen]


def _summary(rows: Sequence[dict[str, Any]], arm: str) -> dict[str, Any]:
    """Per task and over all: the arm's loss, and its difference to the default's with an interval."""
    default = {row["id"]: row["nats"] for row in rows if row["arm"] == DEFAULT}
    mine = [row for row in rows if row["arm"] == arm]
    tasks = ["all", *dict.fromkeys(row["task"] for row in mine)]
    summary = {}
    for task in tasks:
        chosen = [row for row in mine if task in ("all", row["task"])]
        tokens, patients = [row["tokens"] for row in chosen], [row["patient"] for row in chosen]
        loss = bootstrap_ratio([row["nats"] for row in chosen], tokens, patients)
        difference = bootstrap_ratio([row["nats"] - default[row["id"]] for row in chosen], tokens, patients)
        summary[task] = {"loss": _plain(loss), "difference": _plain(difference)}
    return summary


def _plain(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


def _table(arms: dict[str, Any]) -> Table:
    table = Table(title="Held-out loss, nats per answer token; difference to the default [95 %, patients resampled]")
    table.add_column("task")
    for name in arms:
        table.add_column(name, justify="right")
    for task in arms[DEFAULT]:
        cells = []
        for name, summary in arms.items():
            loss, gap = summary[task]["loss"], summary[task]["difference"]
            text = f"{loss['value']:.3f}"
            if name != DEFAULT and gap["low"] is not None:
                text += f"\n{gap['value']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]"
            cells.append(text)
        table.add_row(task, *cells)
    return table


if __name__ == "__main__":
    main()
