"""How far the embedded judges agree with GPT-4 on 3,300 judged pairs (``pulse_eval``), and how far intervals hold.

    python -m benchmarks.evaluation_judges --data DIR [--quick] [--out FILE] [--kept DIR]

GPT-4 saw each pair in one order and gave two scores: higher wins, equal ties. Beside the judges stands what needs no
judge at all: the longer answer. Replies are kept in ``--kept``: an interrupted run asks only what is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.measure import git_commit, machine, versions
from benchmarks.rating_simulation import coverage
from iimedgpt import chain, io, stats
from iimedgpt.agreement import cohen_kappa
from iimedgpt.config import RunConfig
from iimedgpt.evaluation.judging.duels import Duel, Question
from iimedgpt.evaluation.judging.local_judges import LikelihoodJudge, ReferenceDuelJudge
from iimedgpt.judging_config import JudgeConfig
from iimedgpt.run import Stage, StageContext
from iimedgpt.text import content_id, normalise
from iimedgpt.types import Judgement, LanguageModel, Message, Verdict

SETS = ("CheckupQA", "MedicineQA", "WebMedQA", "MedQA-Mainland", "PromptCBLUE")
N_LOCAL = {False: 40, True: 4}  # pairs a set that the local model judges, spread by a hash
MAX_CHARS = 700  # question and answers of those, so that two cores are enough
_SCORES = re.compile(r"\s*(\d+(?:\.\d+)?)\s*[ ,，]\s*(\d+(?:\.\d+)?)\s*(?:\n|$)")

Judged = tuple[Duel, Verdict]  # with GPT-4's verdict


def measure(data: Path, quick: bool, kept: Path | None = None) -> dict[str, Any]:
    """Agreement of each judge with GPT-4 per set, and coverage of the intervals."""
    sets = {name: read_judged(data, name) for name in SETS}
    with tempfile.TemporaryDirectory() as folder:
        place = kept or Path(folder)
        local = {name: _sample(rows, N_LOCAL[quick]) for name, rows in sets.items()}
        judges: dict[str, dict[str, Any]] = {
            "reference": {name: _by_reference(rows) for name, rows in sets.items()},
            "longer": {name: _agreement(rows, [_longer(duel) for duel, _ in rows]) for name, rows in sets.items()},
            "local: gemma-3-270m": _by_local_model(local, place),
        }
        judges["longer, on the pairs of the local judge"] = {
            name: _agreement(rows, [_longer(duel) for duel, _ in rows]) for name, rows in local.items()
        }
    return {
        "against": "gpt-4-1106-preview, one order, as published in pulse_eval",
        "n_pairs": {name: len(rows) for name, rows in sets.items()},
        "gpt4_ties": {name: round(_share(rows, Verdict.TIE), 4) for name, rows in sets.items()},
        "local_sample": {"pairs_a_set": N_LOCAL[quick], "max_chars": MAX_CHARS},
        "judges": judges,
        "coverage": coverage(100 if quick else 500),
    }


def read_judged(data: Path, name: str) -> list[Judged]:
    """Pairs of a set with GPT-4's verdict; rows without a parsable one are left out."""
    folder = data / "pulse_eval" / "eval" / "elo"
    rows = io.read_json_lines(folder / "elo_data" / f"{name}_1207.jsonl")
    replies = io.read_json_lines(folder / "elo_outputs" / f"{name}_1207.jsonl")
    found = []
    for (_, row), (_, reply) in zip(rows, replies, strict=True):
        scores = _SCORES.match(str(json.loads(reply["output"])["content"]))
        if scores is None:
            continue
        first, second = float(scores[1]), float(scores[2])
        verdict = Verdict.TIE if first == second else Verdict.WIN if first > second else Verdict.LOSS
        text = normalise(row["question"])
        question = Question(
            content_id(text), name, content_id(text), (Message(role="user", content=text),), row["reference_answer"]
        )
        answers = [normalise(row[f"model_{side}_predict_answer"]) for side in ("a", "b")]
        found.append((Duel(question, row["model_a"], answers[0], row["model_b"], answers[1]), verdict))
    return found


def _sample(rows: Sequence[Judged], n: int) -> list[Judged]:
    short = [row for row in rows if row[0].n_chars <= MAX_CHARS and row[0].unasked("", "") is None]
    return sorted(short, key=lambda row: row[0].key("sample"))[:n]


def _by_reference(rows: Sequence[Judged]) -> dict[str, Any]:
    if not any(duel.question.reference for duel, _ in rows):
        return {"missing": "the set holds no reference answers"}
    judge = ReferenceDuelJudge(JudgeConfig(name="reference", kind="reference"))
    return _agreement(rows, [row.verdict for row in judge.judge([duel for duel, _ in rows])])


def _by_local_model(sets: dict[str, list[Judged]], folder: Path) -> dict[str, Any]:
    """Each set by itself: the judge takes its liking for a letter off over the pairs judged together."""
    found = {}
    load = _loader(folder)
    for name, rows in sets.items():
        config = JudgeConfig(name=f"local-{name}", kind="local", model="base", criteria=("overall",))
        judge = LikelihoodJudge(config, load, "embedded", folder)
        judged = judge.judge([duel for duel, _ in rows])
        found[name] = {**_agreement(rows, [row.verdict for row in judged]), "consistent": _consistency(judged)}
    return found


def _loader(folder: Path) -> Callable[[], LanguageModel]:
    config = RunConfig.model_validate({"name": "judges", "runs_dir": str(folder), "model": {"name": "embedded"}})
    load = chain._model_loader(StageContext(Stage("judges", (), (), lambda _: None), config, folder))
    return lambda: load("base")


def _consistency(rows: Sequence[Judgement]) -> float | None:
    valid = [row for row in rows if row.verdict is not Verdict.INVALID]
    return round(sum(row.verdict_ab is row.verdict_ba for row in valid) / len(valid), 4) if valid else None


def _longer(duel: Duel) -> Verdict:
    gap = len(duel.answer_a) - len(duel.answer_b)
    return Verdict.TIE if gap == 0 else Verdict.WIN if gap > 0 else Verdict.LOSS


def _agreement(rows: Sequence[Judged], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Kappa and raw agreement over win, tie and loss; accuracy where GPT-4 decided, a judge's tie one half."""
    valid = [
        (duel.question.group_id, gpt4, verdict)
        for (duel, gpt4), verdict in zip(rows, verdicts, strict=True)
        if verdict is not Verdict.INVALID
    ]
    groups = [group for group, _, _ in valid]
    kappa = cohen_kappa([gpt4 for _, gpt4, _ in valid], [verdict for _, _, verdict in valid], groups)
    decided = [(group, 0.5 if v is Verdict.TIE else float(v is gpt4)) for group, gpt4, v in valid if gpt4 != "tie"]
    return {
        "n": len(valid),
        "n_questions": len(set(groups)),
        "n_invalid": len(rows) - len(valid),
        "kappa": _plain(kappa),
        "agreement": _plain(stats.bootstrap_mean([float(a is b) for _, a, b in valid], groups, is_share=True)),
        "accuracy_where_gpt4_decided": _plain(
            stats.bootstrap_mean([value for _, value in decided], [group for group, _ in decided], is_share=True)
        ),
        "ties": round(sum(v is Verdict.TIE for _, _, v in valid) / len(valid), 4),
    }


def _plain(estimate: stats.Estimate) -> dict[str, float | int | None]:
    value, low, high = (None if x is None else round(x, 4) for x in (estimate.value, estimate.low, estimate.high))
    return {"value": value, "low": low, "high": high, "n": estimate.n}


def _share(rows: Sequence[Judged], wanted: Verdict) -> float:
    return sum(verdict is wanted for _, verdict in rows) / len(rows)


def main() -> None:
    """Print the table; write it where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation_judges")
    parser.add_argument("--data", type=Path, default=os.environ.get("IIMEDGPT_DATA"), help="folder with pulse_eval")
    parser.add_argument("--quick", action="store_true", help="fewer pairs and simulated runs")
    parser.add_argument("--kept", type=Path, help="folder for the local judge's replies")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    options = parser.parse_args()
    if options.data is None:
        parser.error("no --data and no IIMEDGPT_DATA")
    found = measure(options.data, options.quick, options.kept)
    for judge, by_set in found["judges"].items():
        for name, row in by_set.items():
            if "missing" in row:
                print(f"{judge:<42}{name:<16}{row['missing']}")
                continue
            kappa, right = row["kappa"], row["accuracy_where_gpt4_decided"]
            print(
                f"{judge:<42}{name:<16}n {row['n']:>4}  kappa {kappa['value']:+.3f} [{kappa['low']:+.3f}, "
                f"{kappa['high']:+.3f}]  where decided {right['value']:.3f}  ties {row['ties']:.2f}"
            )
    for name, row in found["coverage"].items():
        print(f"{name:<42}covered {row['covered']:.3f} of {row['n_runs']} runs")
    if options.out is not None:
        about = {
            "benchmark": "evaluation_judges",
            "command": "python -m benchmarks.evaluation_judges --data DIR" + (" --quick" if options.quick else ""),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "git_commit": git_commit(),
            "machine": machine(),
            "versions": versions(),
        }
        options.out.write_text(json.dumps(about | found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
