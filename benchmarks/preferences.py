"""Does DPO teach the preference? SFT against SFT+DPO on held-out pairs, beside the base model.

    python -m benchmarks.preferences [--quick] [--part real|rules] [--data DIR]

*real*: answers to 5 sets of public questions, judged by GPT-4 (PULSE), split by question; pairs with a small
score gap apart. *rules*: rule-made errors on synthetic patients, split by patient, per named error.
Prints a table and writes ``benchmarks/results/preferences.json`` (``preferences-quick.json``); a part that is
not run keeps what the file has.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.measure import git_commit, machine, versions
from iimedgpt import chain, io, stats
from iimedgpt.config import RunConfig
from iimedgpt.evaluation.scoreboard import Scoreboard
from iimedgpt.preferences import imports, leakage
from iimedgpt.preferences.contexts import ContextBuilder
from iimedgpt.preferences.errors import CAVEAT, ErrorChooser
from iimedgpt.preferences.filters import filter_pairs, keep_apart
from iimedgpt.run import Stage, StageContext, execute
from iimedgpt.text import content_id
from iimedgpt.types import Conversation, LanguageModel, Message, PreferencePair

RESULTS = Path(__file__).with_name("results")
MODELS = ("base", "sft", "sft+dpo")
SETS = ("CheckupQA", "MedicineQA", "WebMedQA", "MedQA-Mainland", "PromptCBLUE")
SMALL_GAP = 2.0  # points of ten: a decisive pair with so little between its answers is no good-versus-garbage
SIZES = {  # training pairs, held-out pairs, longest answer in characters
    False: {"real": (60, 110, 110), "rules": (80, 120, 160)},
    True: {"real": (24, 40, 120), "rules": (24, 40, 160)},
}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.preferences", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter pairs; minutes")
    parser.add_argument("--part", choices=("real", "rules"), help="one part only")
    parser.add_argument("--data", type=Path, default=os.environ.get("IIMEDGPT_DATA"), help="folder with pulse_eval")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result file")
    options = parser.parse_args()
    path = options.out / ("preferences-quick.json" if options.quick else "preferences.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"parts": {}}
    result |= {"benchmark": "preferences", "machine": machine(), "versions": versions()}
    for part in (options.part,) if options.part else ("real", "rules"):
        if part == "real" and options.data is None:
            result["parts"][part] = {"skipped": "no --data and no IIMEDGPT_DATA"}
            continue
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            os.environ.setdefault("IIMEDGPT_SECRET_FILE", str(Path(folder) / "secret"))
            found = _run_part(part, Path(folder), options)
        result["parts"][part] = {
            "command": "python -m benchmarks.preferences " + " ".join(sys.argv[1:]),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "git_commit": git_commit(),
            "seconds": round(time.monotonic() - started, 1),
            **found,
        }
        path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        _print(part, result["parts"][part])
    print(f"written: {path}")


def _config(folder: Path, part: str, data: Path | None) -> RunConfig:
    """Both parts train alike; what they train on differs."""
    files = [
        {
            "format": "pulse",
            "path": f"pulse_eval/eval/elo/elo_data/{name}_1207.jsonl",
            "verdicts": f"pulse_eval/eval/elo/elo_outputs/{name}_1207.jsonl",
            "name": name,
            "max_chars": 300,
        }
        for name in SETS
    ]
    return RunConfig.model_validate(
        {
            "name": part,
            "runs_dir": str(folder),
            "data_dir": str(data or "."),
            "records": {"sources": [{"reader": "synthetic", "n_max": 240}]},
            "mixture": {"test_frac": 0.4, "validation_frac": 0.0},
            "model": {"name": "embedded"},
            "sft": {"learning_rate": 3e-4, "groups_per_step": 8},
            "pairs": {
                "imports": files if part == "real" else [],
                "import_test_frac": 0.5,
                "max_length_ratio": 3.0,
                "max_mean_length_difference": 0.05 if part == "real" else None,
            },
            "dpo": {"learning_rate": 1e-4, "groups_per_step": 8, "epochs": 1.0},
        }
    )


def _run_part(part: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    config = _config(folder, part, options.data)
    n_train, n_test, max_chars = SIZES[options.quick][part]
    conversations, pairs = (_real if part == "real" else _rules)(config, max_chars)
    test = _spread([pair for pair in pairs if pair.split == "test"], n_test)
    train, _ = keep_apart(_spread([pair for pair in pairs if pair.split == "train"], n_train), test)
    trained = {pair.group_id for pair in train}
    known = [item for item in conversations if item.group_id in trained]
    stages = _train(config, known, train)
    load = chain._model_loader(StageContext(stages[-1], config, config.run_dir / "score"))
    board, chars = Scoreboard(stats.N_RESAMPLES, 0), {}
    for name in MODELS:
        board.add_all(_measured(load(name), name, test))
        chars[name] = _answer_chars(load(name), test) if part == "rules" else None
    facts = json.loads((config.run_dir / "dpo" / "manifest.json").read_text())["facts"]
    return {
        "n_sft_conversations": len(known),
        "n_train_pairs": len(train),
        "n_test_pairs": len(test),
        "n_test_prompts": len({pair.group_id for pair in test}),
        "caveat": CAVEAT if part == "rules" else "verdicts of GPT-4, of web questions; not a clinician's",
        "accuracy": _accuracies(board, test),
        "controls": {"train": leakage.measure(train), "test": leakage.measure(test)},
        "free_answer_chars": chars,
        "dpo": {key: facts[key] for key in ("n_steps", "step0_max_margin", "first_loss", "last_loss", "last_margin")},
    }


def _real(config: RunConfig, max_chars: int) -> tuple[list[Conversation], list[PreferencePair]]:
    """Judged pairs of all sets, split by question; SFT learns the better answer of the training questions."""
    found = [row for file in config.pairs.imports for row in imports.read_import(file, config)]
    pairs = [row for row in found if isinstance(row, PreferencePair)]
    pairs = [pair for pair in pairs if max(len(pair.chosen), len(pair.rejected)) <= max_chars]
    kept, _ = filter_pairs(pairs, config.pairs)
    best: dict[str, PreferencePair] = {}
    for pair in kept:
        if pair.group_id not in best or (pair.score_gap or 0) > (best[pair.group_id].score_gap or 0):
            best[pair.group_id] = pair
    conversations = [
        Conversation(
            conversation_id=pair.pair_id,
            messages=(*pair.prompt, Message(role="assistant", content=pair.chosen)),
            group_id=pair.group_id,
            source=pair.origin,
            license="none stated",
            split=pair.split,
        )
        for pair in best.values()
        if pair.split == "train"
    ]
    return conversations, kept


def _rules(config: RunConfig, max_chars: int) -> tuple[list[Conversation], list[PreferencePair]]:
    """Two named errors for each short answer of synthetic patients, split by patient."""
    for name in ("records", "instructions", "mixture"):
        execute(chain.stage_named(name), config)
    conversations: list[Conversation] = []
    pairs: list[PreferencePair] = []
    for side in ("train", "test"):
        rows = io.read_jsonl(config.run_dir / "mixture" / f"{side}.jsonl", Conversation)
        items = [row for row in rows if row.record_id and len(row.response) <= max_chars]
        contexts, chooser = ContextBuilder(items), ErrorChooser(side)
        for item in items:
            for error in chooser.make(item.response, item.task, contexts.build(item), 1):
                pairs.append(
                    PreferencePair(
                        pair_id=content_id("pair", item.conversation_id, error.text),
                        prompt=item.prompt,
                        chosen=item.response,
                        rejected=error.text,
                        source="rule",
                        group_id=item.group_id,
                        split=item.split,
                        task=item.task,
                        record_id=item.record_id,
                        error=error.name,
                        caveat=error.caveat,
                    )
                )
        conversations += items if side == "train" else []
    return conversations, filter_pairs(pairs, config.pairs)[0]


def _spread(pairs: Sequence[PreferencePair], n: int) -> list[PreferencePair]:
    """So many pairs at even distances, groups kept together."""
    ordered = sorted(pairs, key=lambda pair: (content_id(pair.group_id), pair.pair_id))
    return ordered[:n]


def _train(config: RunConfig, known: Sequence[Conversation], train: Sequence[PreferencePair]) -> list[Stage]:
    """The real SFT and DPO stages on what is handed in."""

    def writes(file: str, rows: Sequence[Any]) -> Callable[[StageContext], None]:
        return lambda ctx: ctx.keep(io.write_jsonl(ctx.output(file), rows))

    def mixture(ctx: StageContext) -> None:
        writes("train.jsonl", known)(ctx)
        io.write_jsonl(ctx.output("validation.jsonl"), [])

    sft, dpo = chain.stage_named("sft"), chain.stage_named("dpo")
    stages = [
        Stage("mixture", (), (), mixture),
        Stage("sft", sft.sections, ("mixture",), sft.run),
        Stage("pairs", (), (), writes("train.jsonl", train)),
        Stage("dpo", dpo.sections, ("pairs", "sft"), dpo.run),
    ]
    for stage in stages:
        execute(stage, config, is_forced=True)
    return [*stages, Stage("score", (), ("sft", "dpo"), lambda _: None)]


def _measured(model: LanguageModel, name: str, test: Sequence[PreferencePair]) -> list[Any]:
    from iimedgpt.evaluation.likelihood import measure_preference

    asked = [(pair.prompt, text) for pair in test for text in (pair.chosen, pair.rejected)]
    found = dict(zip(((p, t) for p, t in asked), model.score(asked), strict=True))
    return measure_preference(test, name, lambda prompt, text: found[tuple(prompt), text])


def _answer_chars(model: LanguageModel, test: Sequence[PreferencePair]) -> float:
    """Mean length of greedy answers to the first prompts: drift of DPO shows here."""
    prompts = list(dict.fromkeys(pair.prompt for pair in test))[:12]
    answers = model.generate(prompts, max_new_tokens=64, temperature=0.0, seed=0)
    return round(sum(len(answer.text) for answer in answers) / len(answers), 1)


def _accuracies(board: Scoreboard, test: Sequence[PreferencePair]) -> dict[str, Any]:
    """Part → measure → model → estimate; and the paired gain of DPO over SFT, with its interval."""
    subsets: dict[str, set[str]] = {"all": {pair.pair_id for pair in test}}
    for pair in test:
        if pair.error:
            subsets.setdefault(f"error={pair.error}", set()).add(pair.pair_id)
        if pair.origin:
            subsets.setdefault(f"set={pair.origin}", set()).add(pair.pair_id)
        if pair.score_gap is not None:
            size = "small" if pair.score_gap <= SMALL_GAP else "large"
            subsets.setdefault(f"gap={size}", set()).add(pair.pair_id)
    table: dict[str, Any] = {}
    for part, keys in sorted(subsets.items()):
        for measure in ("preference_accuracy", "preference_accuracy_per_token"):
            row: dict[str, Any] = {}
            series = {model: board.series[measure, model] for model in MODELS}
            for model, its in series.items():
                items = [its.items[key] for key in its.items if key in keys]
                row[model] = _estimate([item.value for item in items], [item.group for item in items], is_share=True)
            first, last = series["sft"].items, series["sft+dpo"].items
            gains = [(last[key].value - first[key].value, first[key].group) for key in first if key in keys]
            row["sft+dpo_minus_sft"] = _estimate([gain for gain, _ in gains], [group for _, group in gains])
            table.setdefault(part, {})[measure] = row
    return table


def _estimate(values: Sequence[float], groups: Sequence[str], *, is_share: bool = False) -> dict[str, Any]:
    found = stats.bootstrap_mean(values, groups, is_share=is_share)
    return {"value": found.value, "low": found.low, "high": found.high, "n": found.n, "n_groups": found.n_clusters}


def _print(part: str, found: dict[str, Any]) -> None:
    print(
        f"{part}: {found['n_train_pairs']} training pairs, {found['n_test_pairs']} held out; {found['seconds']:.0f} s"
    )
    for name, measures in found["accuracy"].items():
        row = measures["preference_accuracy"]
        cells = (f"{row[key]['value']:+.3f}" if "minus" in key else f"{row[key]['value']:.3f}" for key in row)
        print(f"  {name:<32}{row['sft']['n']:>5}  " + "  ".join(cells))


if __name__ == "__main__":
    main()
