"""The paper's claim, tried, through the real command line: the recipe's own judging part on a tiny run."""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from iimedgpt import io
from tests.e2e.conftest import Workplace
from tests.unit.judging_server import Asked, JudgingServer

RECIPE = Path(__file__).parents[2] / "recipes" / "paper_claim.toml"


def _write_sets(folder: Path, judging: dict[str, Any]) -> None:
    """Small files of our own where the recipe looks for the public sets."""
    for number, source in enumerate(judging["questions"]):
        path = folder / source["path"]
        if source["format"] == "pulse":
            rows = [
                {
                    "question": f"{source['name']} 第{n}题：为什么？",
                    "reference_answer": f"因为{n}" if number < 2 else "",
                    "model_a": "GPT-4",
                    "model_b": "DoctorGLM",
                    "model_a_predict_answer": f"因为{n}。",
                    "model_b_predict_answer": "不知道。",
                }
                for n in range(2)
            ]
            io.write_jsonl(path, rows)
        elif source["format"] == "cmtmedqa":
            io.write_json(path, [{"instruction": "谢谢。", "output": "不客气。", "history": [["头痛。", "几天了？"]]}])
        else:
            for name in ("GPT4", "HuatuoGPT2-7B"):
                answer: Any = f"{name}说多喝水。"
                if source["format"] == "huatuo_conversations":
                    answer = [["头痛怎么办？", "休息。"], ["好。", "不客气。"]]
                io.write_json(path / f"{name}.json", [{"id": 1, "query": "感冒怎么办？", "model_output": answer}])


@pytest.fixture
def tried(finished: tuple[Workplace, Any], tmp_path: Path) -> tuple[Workplace, subprocess.CompletedProcess[str]]:
    workplace, _ = finished
    copy = Workplace(tmp_path / "copy")
    shutil.copytree(workplace.folder, copy.folder)
    text = RECIPE.read_text().replace('extends = "ai_hospital.toml"', 'extends = "run.toml"')
    other = '\n[[judging.rivals]]\nname = "Other"\nkind = "model"\npath = "tiny"\n'
    (copy.folder / "claim.toml").write_text(text.replace("max_new_tokens = 128", "max_new_tokens = 8") + other)
    _write_sets(copy.folder / "data", tomllib.loads(text)["judging"])
    return copy, copy("run", "claim.toml", "--data", "data")


def _facts(workplace: Workplace) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((workplace.run_dir / "evaluate" / "manifest.json").read_text())["facts"]
    return facts


def test_the_same_command_with_an_address_adds_the_language_models_verdicts(
    tried: tuple[Workplace, subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    workplace, result = tried
    assert result.returncode == 0, result.stderr
    ran = [line.split()[1] for line in result.stderr.splitlines() if line.startswith("✓")]
    assert ran == ["evaluate", "report"]
    facts = _facts(workplace)
    assert facts["judging"]["judges_left_out"] == ["llm"]
    met = {(row["question_set"], row["model_b"]) for row in facts["verdicts"] if row["model_a"] == "sft+dpo"}
    assert {("CheckupQA", "GPT-4"), ("CheckupQA", "DoctorGLM"), ("CheckupQA", "sft"), ("CMtMedQA", "sft")} <= met
    assert ("CheckupQA", "Other") in met
    assert {("huatuo instructions", "GPT4"), ("huatuo instructions", "HuatuoGPT2-7B")} <= met

    def fair(asked: Asked) -> str:
        return "[[A]]" if "。" in asked.first else "[[B]]" if "。" in asked.second else "[[C]]"

    server = JudgingServer(fair)
    try:
        monkeypatch.setenv("IIMEDGPT_JUDGE_URL", server.url)
        result = workplace("evaluate", "claim.toml", "--data", "data", "--force")
    finally:
        server.close()
    assert result.returncode == 0, result.stderr
    again = _facts(workplace)
    assert again["judging"]["judges_left_out"] == []
    rows = [row for row in again["verdicts"] if row["judge"].startswith("llm ")]
    assert {row["criterion"] for row in rows} == {"safety", "professionalism", "fluency", "overall"}
    assert {"reference", "GPT4", "GPT-4", "HuatuoGPT2-7B", "DoctorGLM"} <= {row["model_b"] for row in rows}
    assert {row["question_set"] for row in rows} >= {"WebMedQA", "huatuo conversations", "CMtMedQA"}
    assert again["judging"]["usage"]["llm"]["n_asked"] == len(server.asked) > 0
    others = [row for row in again["verdicts"] if not row["judge"].startswith("llm ")]
    assert [{**row, "flags": []} for row in others] == [{**row, "flags": []} for row in facts["verdicts"]]
    assert again["judging"]["usage"]["gemma-3-270m"]["n_asked"] == 0  # all known
