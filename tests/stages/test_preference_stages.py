"""mixture → sample → pairs on tiny hand-made instructions, through the real run.execute."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from iimedgpt import io, mixture
from iimedgpt.config import RunConfig
from iimedgpt.endpoint import UnansweredError
from iimedgpt.errors import DataError, GenerationError
from iimedgpt.manifest import Manifest
from iimedgpt.preferences import pairs, sample
from iimedgpt.run import Stage, StageContext, execute
from iimedgpt.types import (
    AnswerScore,
    Candidate,
    Conversation,
    Generation,
    Instruction,
    Message,
    PreferencePair,
)

N_PATIENTS = 20
TASKS = ("triage", "diagnosis", "treatment")
DISEASES = ("急性胃炎", "支气管哮喘", "偏头痛病", "尿路感染", "急性结膜炎")
DEPARTMENTS = ("消化内科", "呼吸内科", "神经内科", "泌尿外科", "眼科")
DRUGS = ("奥美拉唑", "沙丁胺醇", "卡马西平", "头孢呋辛", "阿昔洛韦")


class ScriptedModel:
    """Answers each prompt by its number; the temperature shows, so that greedy can be told apart."""

    def __init__(self, fail_at_call: int | None = None, empty_for: str = "") -> None:
        self.n_calls = 0
        self.fail_at_call = fail_at_call
        self.empty_for = empty_for

    @property
    def model_id(self) -> str:
        return "scripted"

    def score(self, items: Sequence[tuple[Sequence[Message], str]]) -> list[AnswerScore]:
        raise NotImplementedError

    def generate(
        self,
        prompts: Sequence[Sequence[Message]],
        *,
        max_new_tokens: int,
        temperature: float,
        seed: int | Sequence[int],
    ) -> list[Generation]:
        self.n_calls += 1
        if self.n_calls == self.fail_at_call:
            raise KeyboardInterrupt
        assert not isinstance(seed, int)
        answers = []
        for prompt, its_seed in zip(prompts, seed, strict=True):
            rng = random.Random(its_seed if temperature > 0 else 0)
            is_empty = bool(self.empty_for) and self.empty_for in prompt[-1].content
            text = "" if is_empty else f"  多休息，编号{rng.randrange(1000)}，按时复诊。\n"
            answers.append(Generation(text=text, is_finished=temperature > 0))
        return answers


def instruction(patient: int, task: str) -> Instruction:
    kind = patient % len(DISEASES)
    answers = {
        "triage": f"建议就诊：{DEPARTMENTS[kind]}",
        "diagnosis": f"{DISEASES[kind]}，考虑受凉所致{'，左侧' if patient % 2 else ''}",
        "treatment": f"予{DRUGS[kind]}20mg口服，每日{patient + 2}次；加重时请立即就医。",
    }
    visible = f"【主诉】第{patient}位患者不适{patient + 1}天，夜间明显，来院就诊。"
    return Instruction(
        instruction_id=f"i{patient}-{task}",
        task=task,
        record_id=f"r{patient}",
        patient_id=f"p{patient}",
        source="hand",
        language="zh",
        prompt=(
            Message(role="system", content="你是医生的助手。"),
            Message(role="user", content=f"{visible}\n\n任务：{task}"),
        ),
        response=answers[task],
        template_id="t",
        disease=DISEASES[kind],
    )


def stages(model: ScriptedModel) -> tuple[Stage, ...]:
    def write_instructions(ctx: StageContext) -> None:
        rows = [instruction(patient, task) for patient in range(N_PATIENTS) for task in TASKS]
        rows.append(rows[-1].model_copy(update={"instruction_id": "again", "patient_id": "p0"}))
        ctx.keep(io.write_jsonl(ctx.output("instructions.jsonl"), rows))

    return (
        Stage("instructions", (), (), write_instructions),
        Stage("mixture", ("mixture",), ("instructions",), mixture.run, mixture.inputs),
        Stage("sample", ("sample",), ("mixture",), lambda ctx: sample.run(ctx, lambda _: model)),
        Stage("pairs", ("pairs",), ("mixture", "sample"), pairs.run, pairs.inputs),
    )


def config(folder: Path, **sections: Any) -> RunConfig:
    tree: dict[str, Any] = {
        "name": "tiny",
        "runs_dir": str(folder),
        "data_dir": str(folder),
        "mixture": {"other": [{"reader": "conversations"}], "test_frac": 0.25, "validation_frac": 0.1},
        "sample": {"n_records": 6, "n_test_records": 2, "n_samples": 2},
    }
    for name, values in sections.items():
        tree[name] = tree.get(name, {}) | values
    return RunConfig.model_validate(tree)


def run_all(run: RunConfig, model: ScriptedModel | None = None) -> dict[str, Manifest]:
    return {stage.name: execute(stage, run)[0] for stage in stages(model or ScriptedModel())}


def conversations(run: RunConfig, split: str) -> list[Conversation]:
    return list(io.read_jsonl(run.run_dir / "mixture" / f"{split}.jsonl", Conversation))


def made_pairs(run: RunConfig, split: str) -> list[PreferencePair]:
    return list(io.read_jsonl(run.run_dir / "pairs" / f"{split}.jsonl", PreferencePair))


def group_starts(ids: Sequence[str | None]) -> int:
    return sum(first != second for first, second in zip((None, *ids), ids, strict=False))


# --- mixture ---


def test_mixture_splits_by_patient_and_proves_it(tmp_path: Path) -> None:
    run = config(tmp_path)
    manifest = run_all(run)["mixture"]
    patients = {
        split: {item.group_id for item in conversations(run, split) if item.record_id}
        for split in ("train", "validation", "test")
    }
    assert {split: len(found) for split, found in patients.items()} == {"train": 13, "validation": 2, "test": 5}
    assert len(set().union(*patients.values())) == N_PATIENTS
    assert manifest.facts["overlap_of_test"] == {"n_patients": 0, "n_held_out_diseases": 0, "n_prompts": 0}
    assert manifest.facts["splits"]["test"]["n_conversations"] == 15
    assert manifest.n_dropped["duplicate"] == 1


def test_held_out_diseases_stand_in_test_only(tmp_path: Path) -> None:
    run = config(tmp_path, mixture={"hold_out_diseases_frac": 0.2})
    facts = run_all(run)["mixture"].facts
    diseases = {split: {item.disease for item in conversations(run, split)} for split in ("train", "test")}
    assert facts["n_held_out_diseases"] == 1
    assert len(diseases["test"] - diseases["train"]) == 1
    assert facts["n_test_patients_with_held_out_disease"] == 4  # 20 patients, 5 diseases


def test_other_data_trains_only_within_its_share_between_whole_records(tmp_path: Path) -> None:
    run = config(tmp_path, mixture={"other_frac": 0.25})
    facts = run_all(run)["mixture"].facts
    train = conversations(run, "train")
    other = [item for item in train if item.record_id is None]
    assert len(other) == 13  # 13 of 13 + 39 is a quarter
    assert facts["other_share_of_train"] == 0.25
    assert all(item.record_id for split in ("validation", "test") for item in conversations(run, split))
    records = [item.record_id for item in train if item.record_id]
    assert group_starts(records) == 13  # each record in one piece, also beside other data
    assert group_starts([item.record_id or item.conversation_id for item in train]) == 13 + 13


def test_capped_training_records_are_even_over_diseases(tmp_path: Path) -> None:
    whole = config(tmp_path / "whole", mixture={"other": []})
    capped = config(tmp_path / "capped", mixture={"other": [], "n_max_train_records": 5})
    run_all(whole)
    manifest = run_all(capped)["mixture"]
    diseases = {item.record_id: item.disease for item in conversations(capped, "train")}
    n_by_disease = Counter(diseases.values())
    assert set(n_by_disease) == {item.disease for item in conversations(whole, "train")}
    assert sorted(n_by_disease.values()) == [1, 1, 1, 2]  # five records over the four diseases of training
    assert manifest.n_dropped["over_n_max_train_records"] == (13 - 5) * len(TASKS)


def test_other_data_that_repeats_a_test_record_is_dropped(tmp_path: Path) -> None:
    first = config(tmp_path / "first", mixture={"other": []})
    run_all(first)
    leaked = conversations(first, "test")[0].prompt[-1].content
    rows = [
        {"messages": [{"role": "user", "content": leaked}, {"role": "assistant", "content": "好"}]},
        {"messages": [{"role": "user", "content": "你好"}, {"role": "assistant", "content": "你好！"}]},
        {"messages": [{"role": "user", "content": "你好！"}, {"role": "assistant", "content": "你好"}]},
        {"messages": [{"role": "user", "content": "电话13912345678"}, {"role": "assistant", "content": "好"}]},
        {"messages": [{"role": "user", "content": "长" * 600}, {"role": "assistant", "content": "好"}]},
    ]
    file = tmp_path / "second" / "own.jsonl"
    file.parent.mkdir()
    file.write_text("\n".join(json.dumps(row) for row in rows))
    other = {"reader": "conversations", "path": "own.jsonl", "license": "CC0"}
    manifest = run_all(config(tmp_path / "second", mixture={"other": [other]}))["mixture"]
    assert manifest.n_dropped == {"contaminated": 1, "duplicate": 2, "identifier_shape": 1, "too_long": 1}
    assert manifest.facts["per_license"] == {"unstated": 60, "CC0": 1}


def test_over_n_max_and_over_the_share_are_told_apart(tmp_path: Path) -> None:
    other = [{"reader": "conversations", "n_max": 50}]
    manifest = run_all(config(tmp_path, mixture={"other": other, "other_frac": 0.25}))["mixture"]
    n_packaged = len(list(io.read_lines(mixture.inputs(config(tmp_path))["other:packaged"])))
    assert manifest.n_dropped["over_n_max"] == n_packaged - 50
    assert manifest.n_dropped["over_other_frac"] == 50 - 13


# --- sample ---


def test_sample_answers_the_first_records_and_counts_empty_ones(tmp_path: Path) -> None:
    run = config(tmp_path)
    manifest = run_all(run, ScriptedModel(empty_for="任务：triage"))["sample"]
    rows = list(io.read_jsonl(run.run_dir / "sample" / "candidates.jsonl", Candidate))
    # two answers to 6 records x 3 tasks and one to 2 x 3; a third of them (triage) is empty
    assert (manifest.n_kept, manifest.n_dropped) == (28, {"empty_answer": 14})
    assert len(rows) == 28
    assert len({row.candidate_id for row in rows}) == 28
    assert all(row.text == row.text.strip() for row in rows)
    test_ids = {item.conversation_id for item in conversations(run, "test")}
    assert {row.temperature for row in rows if row.prompt_id in test_ids} == {0.0}
    assert manifest.facts["train"]["n"] == 24
    assert manifest.facts["train"]["finished_frac"] == 1.0
    assert manifest.facts["test"]["finished_frac"] == 0.0


def test_interrupted_sampling_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "CHUNK_ANSWERS", 5)  # 18 prompts twice and 6 once: 8 + 2 chunks
    whole, broken = config(tmp_path / "whole"), config(tmp_path / "broken")
    model = ScriptedModel()
    run_all(whole, model)
    assert model.n_calls == 10
    with pytest.raises(KeyboardInterrupt):
        run_all(broken, ScriptedModel(fail_at_call=7))
    folder = broken.run_dir / "sample" / "partial"
    assert len((folder / "answers.jsonl").read_text().splitlines()) == 6 * 5
    rest = ScriptedModel()
    run_all(broken, rest)
    assert rest.n_calls == 4
    assert not folder.exists()
    assert (broken.run_dir / "sample" / "candidates.jsonl").read_bytes() == (
        whole.run_dir / "sample" / "candidates.jsonl"
    ).read_bytes()


def test_an_endpoint_is_asked_once_for_each_answer_also_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half the prompts fail, the run stops; the next one asks only what is missing."""
    asked: list[int] = []

    class Endpoint(ScriptedModel):
        def __init__(self, _: Any) -> None:
            super().__init__()

        def generate(self, prompts: Any, **options: Any) -> list[Generation]:
            (seed,) = options["seed"]
            if len(asked) >= limit[0]:
                raise GenerationError("the endpoint is gone")
            asked.append(seed)
            return super().generate(prompts, **options)

        def close(self) -> None: ...

    monkeypatch.setattr(sample, "EndpointModel", Endpoint)
    run = config(tmp_path, sample={"generator": "endpoint"})
    limit = [20]
    with pytest.raises(GenerationError):
        run_all(run)
    limit = [1000]
    manifest = run_all(run)["sample"]
    assert manifest.n_kept == 6 * 3 * 2 + 2 * 3
    assert len(asked) == len(set(asked)) == 42  # none twice


def test_prompts_without_an_answer_are_counted_and_many_in_a_row_stop_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(ScriptedModel):
        def generate(self, prompts: Any, **options: Any) -> list[Generation]:
            if "任务：triage" in prompts[0][-1].content or self.fail_at_call:
                raise UnansweredError("http_500", 3)
            return super().generate(prompts, **options)

    monkeypatch.setattr(sample, "CHUNK_ANSWERS", 1)
    manifest = run_all(config(tmp_path / "some", sample={"n_samples": 1}), Failing())["sample"]
    assert manifest.n_dropped == {"unanswered_http_500": 6 + 2}
    with pytest.raises(GenerationError, match="8 prompts in a row got no answer: http_500"):
        run_all(config(tmp_path / "all"), Failing(fail_at_call=1))


def test_named_tasks_only_are_sampled(tmp_path: Path) -> None:
    run = config(tmp_path, sample={"tasks": ["diagnosis"]})
    manifest = run_all(run)["sample"]
    assert manifest.n_kept == 6 * 2 + 2


# --- pairs ---


def test_pairs_come_from_both_sources_side_by_side_per_record(tmp_path: Path) -> None:
    run = config(tmp_path)
    facts = run_all(run)["pairs"].facts
    train, test = made_pairs(run, "train"), made_pairs(run, "test")
    assert facts["train"]["per_source"] == {"reference": 36, "rule": 18}
    assert facts["test"]["per_source"] == {"reference": 6, "rule": 15}  # rules on all five test records
    assert group_starts([pair.record_id for pair in train]) == 6
    assert group_starts([pair.record_id for pair in test]) == 5
    references = {item.conversation_id: item.response for item in conversations(run, "train")}
    assert all(pair.chosen == references[pair.from_ids[0]] for pair in train)
    assert all((pair.error is not None) == (pair.source == "rule") for pair in train + test)
    assert {pair.group_id for pair in train}.isdisjoint(pair.group_id for pair in test)
    assert facts["caveat"] == "rule-made error, not reviewed by a clinician"
    assert all(bool(pair.caveat) == (pair.source == "rule") for pair in train + test)


def test_rule_made_pairs_hardly_differ_in_length(tmp_path: Path) -> None:
    run = config(tmp_path, pairs={"use_reference": False})
    run_all(run)
    for pair in made_pairs(run, "train") + made_pairs(run, "test"):
        if pair.error != "wrong_patient":
            assert abs(len(pair.rejected) - len(pair.chosen)) <= 0.2 * len(pair.chosen)


def test_wrong_patients_answer_comes_from_the_same_side(tmp_path: Path) -> None:
    run = config(tmp_path)
    run_all(run)
    for split in ("train", "test"):
        own = {item.response for item in conversations(run, split)}
        strange = [pair for pair in made_pairs(run, split) if pair.error == "wrong_patient"]
        assert strange
        assert all(pair.rejected in own for pair in strange)


def test_several_rules_for_training_and_one_for_evaluation(tmp_path: Path) -> None:
    run = config(tmp_path, pairs={"max_rules_per_answer": 2, "use_reference": False, "test_frac": 0.4})
    facts = run_all(run)["pairs"].facts
    assert facts["train"]["per_source"] == {"rule": 36}
    assert facts["test"]["per_source"] == {"rule": 2 * len(TASKS)}  # two of five held-out patients


def test_no_training_pair_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training pair came out"):
        run_all(config(tmp_path, pairs={"use_reference": False, "use_rules": False}))


# --- all of it ---


def test_second_run_is_byte_identical(tmp_path: Path) -> None:
    first, second = config(tmp_path / "a"), config(tmp_path / "b")
    one, two = run_all(first), run_all(second)
    assert {name: manifest.outputs for name, manifest in one.items()} == {
        name: manifest.outputs for name, manifest in two.items()
    }


def test_another_seed_chooses_other_patients(tmp_path: Path) -> None:
    first = config(tmp_path / "a")
    second = config(tmp_path / "b").model_copy(update={"seed": 1})
    run_all(first)
    run_all(second)
    assert {item.group_id for item in conversations(first, "test")} != {
        item.group_id for item in conversations(second, "test")
    }
