"""Forgetting a patient: nothing of theirs is left in the run, wherever it is cut off, and they stay out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from iimedgpt import chain, forget, io
from iimedgpt.config import RecordSource, RunConfig
from iimedgpt.errors import DataError, StageNotReadyError
from iimedgpt.export import export
from iimedgpt.manifest import read_manifest
from iimedgpt.records import forgotten
from iimedgpt.report.lineage import lineage
from iimedgpt.run import execute, plan
from iimedgpt.types import Conversation, Record

N_PATIENTS = 8
DISEASES = ("急性胃炎", "支气管哮喘", "偏头痛", "尿路感染", "急性结膜炎", "高血压", "糖尿病", "肺炎")
STAGES = ("records", "instructions", "mixture")


@pytest.fixture(autouse=True)
def secret(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IIMEDGPT_SECRET_FILE", str(tmp_path_factory.mktemp("secret") / "secret"))


def line(number: int, visit: int) -> dict[str, Any]:
    sections = {
        "科室": "内科",
        "主诉": f"反复不适{number + 1}天，第{visit + 1}次就诊",
        "现病史": f"患者{number + 3}天前出现不适，夜间加重，共发作{number + 2}次。",
        "初步诊断": DISEASES[number],
        "治疗方案": f"休息，多饮水，{number + 5}天后复诊。",
    }
    return {"patient_id": f"ZY{number:03d}", "sections": sections}


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    """Eight patients with two visits each, up to the mixture."""
    rows = [line(number, visit) for number in range(N_PATIENTS) for visit in range(2)]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    made = RunConfig(name="t", runs_dir=str(tmp_path / "runs"), data_dir=str(tmp_path))
    sources = (RecordSource(reader="jsonl", path="a.jsonl"),)
    made = made.model_copy(update={"records": made.records.model_copy(update={"sources": sources})})
    for name in STAGES:
        execute(chain.stage_named(name), made)
    return made


def side_of(config: RunConfig) -> dict[str, str]:
    """Patient number → split."""
    rows = io.read_jsonl(config.run_dir / "records/records.jsonl", Record)
    numbers = {row.patient_id: f"ZY{(row.provenance.row - 1) // 2:03d}" for row in rows}
    return {
        numbers[item.group_id]: split
        for split in ("train", "validation", "test")
        for item in io.read_jsonl(config.run_dir / f"mixture/{split}.jsonl", Conversation)
    }


def patient_in(config: RunConfig, split: str) -> str:
    return next(number for number, side in side_of(config).items() if side == split)


def ids_of(config: RunConfig, number: str) -> set[str]:
    """All ids of a patient's rows, as the files say."""
    patient = io.Secret.load().id("patient", "jsonl", number)
    found = {patient}
    for path in (*config.run_dir.glob("records/*.jsonl"), *config.run_dir.glob("*/[itv]*.jsonl")):
        for _, row in io.read_json_lines(path):
            if patient in (row.get("patient_id"), row.get("group_id")):
                keys = ("record_id", "encounter_id", "instruction_id", "conversation_id")
                found |= {row[key] for key in keys if row.get(key)}
    return found


def leftovers(config: RunConfig, ids: set[str]) -> list[str]:
    """Files of the run that hold one of the ids or the patient's own words."""
    found = []
    for path in config.run_dir.rglob("*"):
        if path.is_file() and any(one in path.read_text("utf-8", errors="replace") for one in ids):
            found.append(str(path.relative_to(config.run_dir)))
    return found


def add_later_stages(config: RunConfig, patient_id: str) -> None:
    """What training, sampling, pairs and evaluation leave, by hand: the models are not at issue here."""
    run_dir = config.run_dir
    own = next(
        item
        for split in ("train", "test")
        for item in io.read_jsonl(run_dir / f"mixture/{split}.jsonl", Conversation)
        if item.group_id == patient_id
    )
    for training, data in (("sft", "mixture"), ("dpo", "pairs")):
        io.write_text(run_dir / training / "adapter/adapter_model.safetensors", "weights")
        io.write_jsonl(run_dir / training / "log.jsonl", [{"step": 1, "loss": 1.0}])
        io.write_json(run_dir / training / "checkpoints/checkpoint-1/complete.json", {"step": 1})
        io.write_json(run_dir / training / ".cache/reference.json", {"ids": [1, 2, 3]})
        if data == "pairs":
            borrowed = {"pair_id": "another's", "group_id": "other", "rejected": own.response}
            io.write_jsonl(run_dir / "pairs/train.jsonl", [borrowed])
            write_manifest(run_dir, "pairs", {})
        write_manifest(run_dir, training, {f"{data}/train.jsonl": io.sha256_file(run_dir / f"{data}/train.jsonl")})
    io.write_jsonl(run_dir / "sample/candidates.jsonl", [{"prompt_id": own.conversation_id, "text": own.response}])
    io.write_jsonl(run_dir / "evaluate/answers.jsonl", [{"prompt_id": own.conversation_id, "text": own.response}])
    io.write_json(run_dir / "evaluate/partial/sft.json", {"question": own.messages[1].content})
    io.write_text(run_dir / "report/report.html", own.messages[1].content)
    io.write_text(run_dir / "notes.txt", f"look at {own.record_id}")
    io.write_text(run_dir / "notes2.txt", "nothing of anybody")


def write_manifest(run_dir: Path, stage: str, inputs: dict[str, str]) -> None:
    kept = read_manifest(run_dir / "mixture")
    assert kept is not None
    made = kept.model_copy(update={"stage": stage, "inputs": inputs, "outputs": {}})
    io.write_json(run_dir / stage / "manifest.json", made.model_dump(mode="json"))


def make_full(config: RunConfig, number: str, elsewhere: Path) -> set[str]:
    """Adds all later stages and two exports; the patient's ids."""
    export(config, "trl", config.run_dir / "exports" / "trl")
    export(config, "ms-swift", elsewhere)
    add_later_stages(config, io.Secret.load().id("patient", "jsonl", number))
    return ids_of(config, number)


def test_nothing_of_the_patient_is_left_in_any_file(config: RunConfig, tmp_path: Path) -> None:
    number = patient_in(config, "train")
    ids = make_full(config, number, tmp_path / "elsewhere")
    assert len(ids) > 8
    assert len(leftovers(config, ids)) >= 7  # the search finds what is there
    done = forget.forget(config, number)
    assert leftovers(config, ids | {number}) == []
    assert (config.run_dir / "notes2.txt").exists()
    assert done.n_rows["records/records.jsonl"] == 2
    assert done.copies == [str(tmp_path / "elsewhere")]
    for path in ("sft/checkpoints", "dpo/.cache", "pairs/train.jsonl", "report/report.html", "exports/trl"):
        assert not (config.run_dir / path).exists(), path


def test_the_other_patients_rows_stay_as_they_were(config: RunConfig) -> None:
    patient = io.Secret.load().id("patient", "jsonl", "ZY003")
    files = [config.run_dir / name for name in ("records/records.jsonl", "instructions/instructions.jsonl")]
    files += [config.run_dir / f"mixture/{split}.jsonl" for split in ("train", "validation", "test")]
    others = {path: [row for row in path.read_text().splitlines() if patient not in row] for path in files}
    forget.forget(config, "ZY003")
    assert {path: path.read_text().splitlines() for path in files} == others


def test_no_stage_counts_as_complete_afterwards(config: RunConfig) -> None:
    forget.forget(config, "ZY003")
    assert [read_manifest(config.run_dir / name) for name in STAGES] == [None, None, None]
    with pytest.raises(StageNotReadyError):
        execute(chain.stage_named("instructions"), config)


def test_made_again_the_run_drops_the_patient_with_a_reason(config: RunConfig) -> None:
    ids = ids_of(config, "ZY003")
    forget.forget(config, "ZY003")
    manifest, has_run = execute(chain.stage_named("records"), config)
    assert has_run
    assert manifest.n_dropped == {"forgotten": 2}
    assert manifest.n_in == 2 * N_PATIENTS
    for name in STAGES[1:]:
        execute(chain.stage_named(name), config)
    assert leftovers(config, ids) == []
    assert "ZY003" not in side_of(config)
    _, has_run = execute(chain.stage_named("records"), config)
    assert not has_run


def test_a_patient_id_of_the_run_serves_as_well_as_the_source_number(config: RunConfig) -> None:
    patient = io.Secret.load().id("patient", "jsonl", "ZY003")
    assert forget.forget(config, patient).n_rows["records/records.jsonl"] == 2


def test_an_unknown_number_is_refused_and_not_repeated_in_the_message(config: RunConfig) -> None:
    with pytest.raises(DataError) as caught:
        forget.forget(config, "ZY999")
    assert "ZY999" not in f"{caught.value} {caught.value.hint}"
    assert not forgotten.ledger_path(config).exists()
    assert read_manifest(config.run_dir / "mixture") is not None


def test_a_second_call_touches_nothing(config: RunConfig) -> None:
    forget.forget(config, "ZY003")
    for name in STAGES:
        execute(chain.stage_named(name), config)
    assert forget.forget(config, "ZY003").is_repeated
    assert read_manifest(config.run_dir / "mixture") is not None


def test_adapters_that_learnt_from_the_patient_are_named_until_they_are_trained_again(
    config: RunConfig, tmp_path: Path
) -> None:
    number = patient_in(config, "train")
    make_full(config, number, tmp_path / "elsewhere")
    assert forget.forget(config, number).adapters == ("dpo/adapter", "sft/adapter")
    assert (config.run_dir / "sft/adapter/adapter_model.safetensors").exists()
    execute(chain.stage_named("records"), config)
    made = read_manifest(config.run_dir / "records")
    assert made is not None
    again = made.model_copy(update={"stage": "sft", "started_at": "2999-01-01T00:00:00Z"})
    io.write_json(config.run_dir / "sft/manifest.json", again.model_dump(mode="json"))
    assert forget.forget(config, number).adapters == ("dpo/adapter",)


def test_no_adapter_is_named_for_a_patient_who_was_held_out(config: RunConfig, tmp_path: Path) -> None:
    number = patient_in(config, "test")
    make_full(config, number, tmp_path / "elsewhere")
    assert forget.forget(config, number).adapters == ()


def test_an_adapter_of_other_training_data_is_named_to_be_safe(config: RunConfig, tmp_path: Path) -> None:
    number = patient_in(config, "test")
    make_full(config, number, tmp_path / "elsewhere")
    write_manifest(config.run_dir, "sft", {"mixture/train.jsonl": "0" * 64})
    assert forget.forget(config, number).adapters == ("dpo/adapter", "sft/adapter")


def test_other_runs_that_hold_the_patient_are_named(config: RunConfig) -> None:
    other = config.model_copy(update={"name": "u"})
    execute(chain.stage_named("records"), other)
    assert forget.forget(config, "ZY003").other_runs == ["u"]


def test_cut_off_anywhere_it_blocks_the_run_and_finishes_when_called_again(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = patient_in(config, "train")
    ids = make_full(config, number, tmp_path / "elsewhere")
    whole = tmp_path / "whole"
    shutil.copytree(config.run_dir, whole)
    real_remove, real_write = forget._remove, io.write_jsonl
    n_crashes = 0
    for n in range(100):
        left = [n]

        def interrupted(real: Callable[..., Any], left: list[int] = left) -> Callable[..., Any]:
            def call(*arguments: Any) -> Any:
                if left[0] == 0:
                    raise KeyboardInterrupt
                left[0] -= 1
                return real(*arguments)

            return call

        shutil.rmtree(config.run_dir)
        shutil.copytree(whole, config.run_dir)
        with monkeypatch.context() as patched:
            patched.setattr(forget, "_remove", interrupted(real_remove))
            patched.setattr(io, "write_jsonl", interrupted(real_write))
            try:
                forget.forget(config, number)
                break
            except KeyboardInterrupt:
                n_crashes += 1
        with pytest.raises(DataError, match="being forgotten"):
            plan(chain.stage_named("records"), config)
        assert forget.forget(config, number).adapters == ("dpo/adapter", "sft/adapter")
        assert leftovers(config, ids | {number}) == []
        assert plan(chain.stage_named("records"), config)
    assert n_crashes > 12
    assert leftovers(config, ids | {number}) == []


def test_lineage_leads_from_an_instruction_to_its_record_and_says_when_the_chain_broke(config: RunConfig) -> None:
    path = config.run_dir / "mixture/train.jsonl"
    item = next(iter(io.read_jsonl(path, Conversation)))
    found = dict(lineage(config.run_dir, item.conversation_id))
    assert str(item.record_id) in found["record"]
    assert found["patient"].startswith(item.group_id)
    assert found["split"] == "train"
    assert found["source"].startswith("jsonl  a.jsonl row ")
    assert "sha256" in found["template"]
    assert found["chain"].startswith("holds")
    said = " ".join(found.values())
    assert all(message.content not in said for message in item.messages)
    path.write_text(path.read_text() + "\n")
    assert dict(lineage(config.run_dir, item.conversation_id))["chain"].startswith("broken: mixture/train.jsonl")
    with pytest.raises(DataError):
        list(lineage(config.run_dir, "0123456789abcdef"))
