"""Judging inside the evaluate stage: public question sets in small, other models, scripted judges."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from iimedgpt import io
from iimedgpt.config import EvaluateConfig, JudgingConfig, RunConfig
from iimedgpt.errors import ConfigError, DataError
from iimedgpt.evaluation import evaluate
from iimedgpt.evaluation.judging import arena, questions
from iimedgpt.judging_config import QuestionSet
from iimedgpt.manifest import Manifest
from iimedgpt.run import Stage, StageContext, execute
from iimedgpt.types import AnswerScore, Candidate, Conversation, Generation, Judgement, LanguageModel, Message, Verdict
from tests.stages import test_evaluate_stage as small
from tests.unit.judging_server import Asked, JudgingServer

PULSE = [
    {
        "question": f"问题{n}？",
        "reference_answer": f"参考答案{n}",
        "model_a": "Big",
        "model_b": "Odd",
        "model_a_predict_answer": f"参考答案{n}好",
        "model_b_predict_answer": f"胡言乱语{n}乱说一气没有关系",
    }
    for n in range(6)
]


class Answering(small.ScriptedModel):
    """The scripted model of the evaluation, which answers other questions too."""

    prompts: list[tuple[Message, ...]]

    def generate(self, prompts: Sequence[Sequence[Message]], **options: Any) -> list[Generation]:
        if not prompts[0][-1].content.startswith("病人"):
            self.asked_elsewhere = [*getattr(self, "asked_elsewhere", []), *map(tuple, prompts)]
            return [Generation(text=f"{self.name}的参考回答", is_finished=True) for _ in prompts]
        return super().generate(prompts, **options)


class Reads(Answering):
    """As a judge by likelihood: likes the letter A everywhere, and an answer that starts with 参考 more."""

    def score(self, items: Sequence[tuple[Sequence[Message], str]]) -> list[AnswerScore]:
        if not items[0][1].startswith("[["):
            return super().score(items)
        return [AnswerScore(logp=self._odds(prompt[-1].content, label), n_tokens=3) for prompt, label in items]

    def _odds(self, text: str, label: str) -> float:
        first, second = text.index("<回答一"), text.index("<回答二")
        good = [part.split("\n")[1].startswith("参考") for part in (text[first:second], text[second:])]
        return -5.0 + (3.0 + good[0] if label == "[[A]]" else good[1])


class Models(small.Loader):
    def __call__(self, name: str) -> LanguageModel:
        if name not in self.models:
            self.models[name] = self.model("base" if name not in ("sft", "sft+dpo") else name)
        return self.models[name]


def _run(
    tmp_path: Path, judging: dict[str, Any], loader: small.Loader | None = None, name: str = "r"
) -> tuple[Manifest, Path]:
    config = RunConfig(
        name=name,
        runs_dir=str(tmp_path),
        data_dir=str(tmp_path),
        evaluate=EvaluateConfig(n_generate=2, n_bootstrap=200, n_shots=0),
        judging=JudgingConfig.model_validate(judging),
    )

    def mixture(ctx: StageContext) -> None:
        small._write("test.jsonl", small._test_rows())(ctx)
        small._write("train.jsonl", small._train_rows())(ctx)

    execute(Stage("mixture", (), (), mixture), config)
    execute(Stage("pairs", (), (), small._write("test.jsonl", small._pairs())), config)
    for stage in ("sft", "dpo"):
        execute(Stage(stage, (), (), small._write("log.jsonl", [])), config)
    models = loader or Models(model=Answering)
    stage_to_run = Stage(
        "evaluate",
        ("evaluate", "judging"),
        ("mixture", "pairs", "sft", "dpo"),
        lambda ctx: evaluate.run(ctx, models),
        arena.inputs,
    )
    return execute(stage_to_run, config)[0], config.run_dir / "evaluate"


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    io.write_jsonl(tmp_path / "pulse.jsonl", PULSE)
    both = {
        "GPT4": [{"id": n, "query": f"怎么办{n}？", "model_output": f"多喝水{n}"} for n in range(3)],
        "Huatuo": [{"id": n, "query": f"怎么办{n}？", "model_output": f"去医院{n}"} for n in range(3)],
    }
    for name, rows in both.items():
        io.write_json(tmp_path / "inst" / f"{name}.json", rows)
        turns = [{"id": n, "model_output": [[f"{name}问{n}", "答一"], ["还有呢？", "答二"]]} for n in range(2)]
        io.write_json(tmp_path / "conv" / f"{name}.json", turns)
    talks = [
        {"instruction": "谢谢。", "output": "不客气。", "history": [["头痛。", "几天了？"], ["三天。", "去查血压。"]]},
        {"instruct": "能驱魔吗？", "output": "不能。"},
        {"instruction": "空的", "output": None, "history": []},
    ]
    io.write_json(tmp_path / "talks.json", talks)
    return tmp_path


def _rows(facts: dict[str, Any], **wanted: str) -> list[dict[str, Any]]:
    return [row for row in facts["verdicts"] if all(row[key] == value for key, value in wanted.items())]


def test_without_configuration_the_reference_judge_stands_alone(tmp_path: Path) -> None:
    manifest, folder = _run(tmp_path, {})
    rows = manifest.facts["verdicts"]
    assert {row["judge"].split(" ")[0] for row in rows} == {"reference-closeness"}
    assert {row["question_set"] for row in rows} == {"held_out"}
    (row,) = _rows(manifest.facts, model_a="sft", model_b="base")
    assert row["wins"] + row["ties"] + row["losses"] + row["invalid"] == 4
    assert {"model", "strength", "ci_low", "ci_high", "n"} <= manifest.facts["ratings"][0].keys()
    assert manifest.facts["judging"] == {
        "n_duels": 0,
        "usage": {},
        "judges_left_out": [],
        "unanswered": {},
        "n_skipped_rows": {},
    }
    assert not (folder / "judged").exists()


def test_saved_rivals_are_met_and_every_number_is_there(sets: Path) -> None:
    judging = {
        "judges": [{"name": "closeness", "kind": "reference"}],
        "questions": [{"name": "pulse", "format": "pulse", "path": "pulse.jsonl"}],
    }
    manifest, folder = _run(sets, judging)
    (row,) = _rows(manifest.facts, question_set="pulse", model_a="sft", model_b="Big")
    assert (row["wins"], row["losses"], row["invalid"]) == (0, 6, 0)
    assert (row["mean_chars_a"], row["mean_chars_b"]) == (len("sft的参考回答"), len("参考答案0好"))
    assert row["win_rate"] == 0.0
    assert 0.0 < row["ci_high"] < 0.6
    assert row["sign_p"] == pytest.approx(2 / 2**6)
    (row,) = _rows(manifest.facts, question_set="pulse", model_a="sft", model_b="Odd")
    assert row["wins"] == 6
    assert _rows(manifest.facts, question_set="pulse", model_a="sft", model_b="control:null")
    strengths = {row["model"]: row["strength"] for row in manifest.facts["ratings"] if row["question_set"] == "pulse"}
    assert strengths["Big"] > strengths["sft"] > strengths["Odd"]
    judged = [row for row in io.read_jsonl(folder / "judgements.jsonl", Judgement) if row.question_set == "pulse"]
    assert len(judged) == manifest.facts["judging"]["n_duels"] == 6 * (1 + 2 * 4 + 1)
    for path in folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_what_was_judged_can_go_to_the_ranking_page(sets: Path) -> None:
    judging = {"questions": [{"name": "pulse", "format": "pulse", "path": "pulse.jsonl", "n_max": 3}]}
    _, folder = _run(sets, judging)
    asked = list(io.read_jsonl(folder / "judged" / "questions.jsonl", Conversation))
    assert [row.prompt[-1].content for row in asked] == ["问题0？", "问题2？", "问题4？"]
    names = json.loads((folder / "judged" / "participants.json").read_text())
    assert {"Big", "Odd", "sft", "sft+dpo"} <= set(names.values())
    for file, name in names.items():
        rows = list(io.read_jsonl(folder / "judged" / file, Candidate))
        assert {row.model_id for row in rows} == {name}
        assert {row.prompt_id for row in rows} <= {row.conversation_id for row in asked}


def test_conversations_are_asked_turn_by_turn_as_served(sets: Path) -> None:
    loader = Models(model=Answering)
    source = {"name": "talks", "format": "cmtmedqa", "path": "talks.json", "use_reference": True}
    manifest, _ = _run(sets, {"judges": [{"name": "c", "kind": "reference"}], "questions": [source]}, loader)
    spoken = [[message.content for message in prompt] for prompt in loader.models["sft"].asked_elsewhere]
    assert spoken == [
        ["头痛。"],
        ["头痛。", "几天了？", "三天。"],
        ["头痛。", "几天了？", "三天。", "去查血压。", "谢谢。"],
        ["能驱魔吗？"],
    ]
    # against its own reference the reference judge says nothing, against the controls it does
    assert not _rows(manifest.facts, question_set="talks", model_b="reference")
    (row,) = _rows(manifest.facts, question_set="talks", model_a="sft", model_b="control:null")
    assert (row["n_prompts"], row["n_groups"]) == (4, 2)


def test_each_models_own_conversations_are_prompts_of_their_own(sets: Path) -> None:
    config = RunConfig(name="r", data_dir=str(sets))
    asked = questions.read_set(QuestionSet(name="conv", format="huatuo_conversations", path="conv"), config)
    assert len(asked.questions) == 2 * 2 * 2
    assert {name: len(found) for name, found in asked.answers.items()} == {"GPT4": 4, "Huatuo": 4}
    assert not set(asked.answers["GPT4"]) & set(asked.answers["Huatuo"])
    asked = questions.read_set(QuestionSet(name="inst", format="huatuo_instructions", path="inst"), config)
    assert len(asked.questions) == 3
    assert set(asked.answers["GPT4"]) == set(asked.answers["Huatuo"])


def test_a_local_judge_is_freed_of_its_liking_for_a_letter(sets: Path) -> None:
    judging = {
        "judges": [{"name": "local", "kind": "local", "model": "base", "criteria": ["overall"]}],
        "questions": [{"name": "pulse", "format": "pulse", "path": "pulse.jsonl"}],
        "use_controls": False,
        "models": ["sft"],
        "rivals": [{"name": "Copy", "kind": "file", "path": "copy.jsonl"}],
    }
    io.write_jsonl(sets / "copy.jsonl", [{"question": f"问题{n}？", "answer": f"参考答案{n}。"} for n in range(5)])
    models = Models(model=Reads)
    manifest, folder = _run(sets, judging, models)
    rows = {row["model_b"]: row for row in _rows(manifest.facts, question_set="pulse")}
    assert (rows["Odd"]["ties"], rows["Odd"]["position_consistency"]) == (6, 1.0)  # both bad; A is 3 nats likelier
    assert (rows["Big"]["losses"], rows["Big"]["position_consistency"]) == (6, 1.0)
    assert rows["Copy"]["n_prompts"] == 5
    assert manifest.facts["judging"]["usage"]["local"]["n_asked"] == 2 * (6 + 6 + 5)
    (file,) = (folder / ".cache" / "judging").glob("local.jsonl")
    assert len(file.read_text().splitlines()) == 2 * (6 + 6 + 5)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JudgingServer]:
    def fair(asked: Asked) -> str:
        a, b = asked.first.startswith("参考"), asked.second.startswith("参考")
        return "[[C]]" if a == b else "[[A]]" if a else "[[B]]"

    started = JudgingServer(fair)
    monkeypatch.setenv("JUDGE_URL", started.url)
    yield started
    started.close()


ENDPOINT_JUDGE = {
    "name": "llm",
    "kind": "endpoint",
    "criteria": ["safety", "overall"],
    "endpoint": {"model": "m", "url_env": "JUDGE_URL"},
}


def test_a_judge_added_later_finds_answers_and_replies_kept(sets: Path, server: JudgingServer) -> None:
    questions_of = [{"name": "pulse", "format": "pulse", "path": "pulse.jsonl"}]
    _run(sets, {"questions": questions_of})
    models = Models(model=Answering)
    closeness = {"name": "c", "kind": "reference"}
    manifest, _ = _run(sets, {"questions": questions_of, "judges": [ENDPOINT_JUDGE, closeness]}, models)
    assert not hasattr(models.models["sft"], "asked_elsewhere")  # answers of the same weights are not asked again
    (row,) = _rows(manifest.facts, criterion="safety", model_a="sft", model_b="Big", question_set="pulse")
    assert (row["losses"], row["invalid"]) == (6, 0)
    n_asked = len(server.asked)
    assert manifest.facts["judging"]["usage"]["llm"]["n_asked"] == n_asked
    agreement = manifest.facts["judge_agreement"]
    assert {row["criterion"] for row in agreement} == {"overall"}  # the reference judge beside "overall"
    assert agreement[0]["kappa"] is not None
    manifest, _ = _run(sets, {"questions": questions_of, "judges": [ENDPOINT_JUDGE], "round_robin": True})
    more = [row for row in manifest.facts["verdicts"] if {row["model_a"], row["model_b"]} == {"Big", "Odd"}]
    assert [row["wins"] for row in more] == [6, 6]
    assert manifest.facts["judging"]["usage"]["llm"]["n_known"] == n_asked


def test_a_rival_at_an_endpoint_and_one_on_disk_are_asked(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = JudgingServer(lambda asked: (400, {}, {}) if "问题3" in asked.text else f"参考答案{asked.text[2]}")
    monkeypatch.setenv("RIVAL_URL", server.url)
    endpoint = {"model": "rival", "url_env": "RIVAL_URL"}
    judging = {
        "questions": [{"name": "pulse", "format": "pulse", "path": "pulse.jsonl"}],
        "judges": [{"name": "c", "kind": "reference"}],
        "rivals": [
            {"name": "Far", "kind": "endpoint", "endpoint": endpoint},
            {"name": "Near", "kind": "model", "path": "some-model"},
        ],
    }
    models = Models(model=Answering)
    try:
        manifest, _ = _run(sets, judging, models)
        assert "some-model" in models.models
        (row,) = _rows(manifest.facts, model_a="sft", model_b="Far")
        assert (row["losses"], row["n_prompts"]) == (5, 5)
        (row,) = _rows(manifest.facts, model_a="sft", model_b="Near")
        assert row["n_prompts"] == 6
        assert manifest.facts["judging"]["unanswered"] == {"Far: refused": 1}
        n_asked = len(server.asked)
        assert n_asked == 6
        _run(sets, {**judging, "round_robin": True})
        assert len(server.asked) == n_asked + 1  # the one without an answer
    finally:
        server.close()


def test_the_held_out_records_can_be_judged_by_others_too(sets: Path, server: JudgingServer) -> None:
    judging = {
        "judges": [ENDPOINT_JUDGE, {"name": "c", "kind": "reference"}],
        "questions": [{"name": "records", "format": "held_out", "use_reference": True}],
    }
    manifest, _ = _run(sets, judging)
    llm = [row for row in manifest.facts["verdicts"] if row["judge"].startswith("llm")]
    assert {row["question_set"] for row in llm} == {"held_out"}
    assert ("sft", "reference") in {(row["model_a"], row["model_b"]) for row in llm}
    # the reference judge's verdicts on these stand there already: counted once
    (row,) = [row for row in _rows(manifest.facts, model_a="sft+dpo", model_b="sft") if "reference" in row["judge"]]
    assert row["wins"] + row["ties"] + row["losses"] + row["invalid"] == 4


def test_a_judge_without_an_address_may_be_left_out_and_is_said(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JUDGE_URL", raising=False)
    judging = {"questions": [{"name": "pulse", "format": "pulse", "path": "pulse.jsonl"}]}
    manifest, _ = _run(sets, {**judging, "judges": [{**ENDPOINT_JUDGE, "only_if_set": True}]})
    assert manifest.facts["judging"]["judges_left_out"] == ["llm"]
    with pytest.raises(ConfigError, match="JUDGE_URL is not set"):
        _run(sets, {**judging, "judges": [ENDPOINT_JUDGE]}, name="other")


def test_a_judge_keeps_to_its_question_sets(sets: Path) -> None:
    judging = {
        "questions": [
            {"name": "pulse", "format": "pulse", "path": "pulse.jsonl"},
            {"name": "talks", "format": "cmtmedqa", "path": "talks.json"},
        ],
        "judges": [{"name": "c", "kind": "reference", "question_sets": ["talks"]}],
    }
    manifest, _ = _run(sets, judging)
    assert {row["question_set"] for row in manifest.facts["verdicts"]} == {"held_out", "talks"}
    judging["judges"][0]["question_sets"] = ["nowhere"]
    with pytest.raises(ConfigError, match="nothing to judge in nowhere"):
        _run(sets, judging)


def test_clinicians_verdicts_of_the_page_are_counted(sets: Path) -> None:
    rows = [
        Judgement(
            prompt_id=f"x{n}",
            task=None,
            model_a="sft",
            model_b="Big",
            criterion="safety",
            judge_id="clinician:ann",
            verdict_ab=Verdict.WIN,
            verdict_ba=Verdict.WIN,
            verdict=Verdict.WIN,
            group_id=f"x{n}",
        )
        for n in range(4)
    ]
    io.write_jsonl(sets / "votes.jsonl", rows)
    manifest, folder = _run(sets, {"judges": [{"name": "people", "kind": "clinicians", "path": "votes.jsonl"}]})
    (row,) = _rows(manifest.facts, judge="clinician:ann")
    assert (row["wins"], row["win_rate"], row["position_consistency"]) == (4, 1.0, None)
    assert row["mean_chars_a"] is None
    assert sum(row.judge_id == "clinician:ann" for row in io.read_jsonl(folder / "judgements.jsonl", Judgement)) == 4


@pytest.mark.parametrize(
    ("judging", "problem"),
    [
        ({"questions": [{"name": "q", "format": "pulse"}]}, "has no path"),
        ({"questions": [{"name": "q", "format": "held_out"}] * 2}, "one name"),
        ({"judges": [{"name": "j", "kind": "clinicians"}]}, "has no path"),
        ({"rivals": [{"name": "sft", "kind": "endpoint"}]}, "another participant"),
        ({"questions": [{"name": n, "format": "jsonl", "path": "one.jsonl"} for n in "ab"]}, "id of another one"),
        ({"questions": [{"name": "q", "format": "huatuo_instructions", "path": "sft.json"}]}, "a name of our own"),
    ],
)
def test_a_configuration_that_cannot_be_is_one_line(sets: Path, judging: dict[str, Any], problem: str) -> None:
    io.write_jsonl(sets / "one.jsonl", [{"id": "x", "question": "痛？"}])
    io.write_json(sets / "sft.json", [{"query": "痛？", "model_output": "休息。"}])
    with pytest.raises(ConfigError, match=problem):
        _run(sets, judging)


def test_a_file_of_answers_to_other_questions_is_an_error(sets: Path) -> None:
    io.write_jsonl(sets / "copy.jsonl", [{"question": "什么？", "answer": "没有。"}])
    judging = {
        "questions": [{"name": "pulse", "format": "pulse", "path": "pulse.jsonl"}],
        "rivals": [{"name": "Copy", "kind": "file", "path": "copy.jsonl"}],
    }
    with pytest.raises(DataError, match="no row answers a question"):
        _run(sets, judging)


def test_a_questions_file_of_ones_own(sets: Path) -> None:
    rows: list[BaseModel | dict[str, Any]] = [
        {"id": "a", "question": "痛？", "reference": "是", "group": 1},
        {"messages": [{"role": "user", "content": "痛"}, {"role": "assistant", "content": "哪里"}]},
        {"messages": [{"role": "user", "content": "这里痛"}]},
    ]
    io.write_jsonl(sets / "own.jsonl", rows)
    config = RunConfig(name="r", data_dir=str(sets))
    asked = questions.read_set(QuestionSet(name="own", format="jsonl", path="own.jsonl"), config)
    assert (asked.questions[0].question_id, asked.questions[0].group_id) == ("a", "own:1")
    assert (len(asked.questions), asked.n_skipped) == (2, 1)
