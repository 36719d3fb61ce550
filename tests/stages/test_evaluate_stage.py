"""The evaluate stage on four held-out patients with scripted models: every value is derived by hand.

Block of four records, two tasks each, so eight items. Every answer counts 4 tokens, and per token

    base      −1.0 for record 1's answers, −1.5 for the others', whatever the record says
    sft       −1.0 for the record's own answer, −2.0 for another's
    sft+dpo   −0.8 for the record's own answer, −2.4 for another's

With solved examples before it, base gives −0.9 to everything. A rejected answer of a pair counts 2
tokens: −1.0 (base), −3.0 (sft), −4.0 (sft+dpo) each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from iimedgpt import io
from iimedgpt.config import EvaluateConfig, ExamsConfig, RunConfig
from iimedgpt.errors import DataError, GenerationError
from iimedgpt.evaluation import evaluate
from iimedgpt.manifest import Manifest
from iimedgpt.run import Stage, StageContext, execute
from iimedgpt.types import (
    AnswerScore,
    Candidate,
    Conversation,
    Generation,
    Judgement,
    LanguageModel,
    Message,
    PreferencePair,
    Score,
    Split,
)

REJECTED = "康复科"
TRIAGE = {1: "消化内科", 2: "心内科", 3: "骨科", 4: "神经内科"}
DIAGNOSIS = {1: "胃溃疡", 2: "冠心病", 3: "腰椎间盘突出症", 4: "脑梗死"}
COMPLAINT = {1: "上腹部烧灼样疼痛", 2: "活动后胸口压榨样闷", 3: "弯腰搬货后腿麻", 4: "晨起口角歪斜言语含糊"}
TRAINING = {
    11: (COMPLAINT[1], "消化内科", "胃炎"),
    12: (COMPLAINT[2], "心内科", "冠心病"),
    13: ("反酸", "消化内科", "胃炎"),
}
QUESTION = {"triage": "应挂哪个科？", "diagnosis": "初步诊断是什么？"}


def _conversation(number: int, task: str, answer: str, split: Split) -> Conversation:
    complaint = COMPLAINT[number] if number in COMPLAINT else TRAINING[number][0]
    return Conversation(
        conversation_id=f"c{number}-{task}",
        messages=(
            Message(role="system", content="你是医生。"),
            Message(role="user", content=f"病人{number}。{complaint}\n\n{QUESTION[task]}"),
            Message(role="assistant", content=answer),
        ),
        group_id=f"p{number}",
        source="test",
        license="own",
        split=split,
        task=task,
        record_id=f"r{number}",
        disease=DIAGNOSIS[number] if number in DIAGNOSIS else TRAINING[number][2],
        is_synthetic=True,
    )


def _test_rows() -> list[Conversation]:
    return [
        _conversation(number, task, answers[number], "test")
        for number in TRIAGE
        for task, answers in (("triage", TRIAGE), ("diagnosis", DIAGNOSIS))
    ]


def _train_rows() -> list[Conversation]:
    return [
        _conversation(number, task, answer, "train")
        for number, (_, department, diagnosis) in TRAINING.items()
        for task, answer in (("triage", department), ("diagnosis", diagnosis))
    ]


def _pairs() -> list[PreferencePair]:
    rows = {row.conversation_id: row for row in _test_rows()}
    return [
        PreferencePair(
            pair_id=f"pair{number}",
            prompt=rows[f"c{number}-triage"].prompt if number in TRIAGE else rows["c1-triage"].prompt,
            chosen=TRIAGE.get(number, "皮肤科"),
            rejected=REJECTED,
            source=source,  # type: ignore[arg-type]
            group_id=f"p{number}",
            split="test",
            task="triage",
            record_id=f"r{number}",
            error=error,
        )
        for number, source, error in ((1, "rule", "wrong_department"), (2, "reference", None), (9, "rule", "x"))
    ]


class ScriptedModel:
    """A real LanguageModel whose likelihoods and answers are the ones of this file's head."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.model_id = f"scripted-{name}"
        self.asked: list[tuple[str, str]] = []
        self.n_score_calls = self.n_generate_calls = 0

    def score(self, items: Sequence[tuple[Sequence[Message], str]]) -> list[AnswerScore]:
        self.n_score_calls += 1
        self.asked += [(prompt[-1].content, answer) for prompt, answer in items]
        return [self._score(prompt, answer) for prompt, answer in items]

    def _score(self, prompt: Sequence[Message], answer: str) -> AnswerScore:
        if answer == REJECTED:
            return AnswerScore(logp=2 * {"base": -1.0, "sft": -3.0, "sft+dpo": -4.0}[self.name], n_tokens=2)
        if len(prompt) > 2:
            return AnswerScore(logp=4 * -0.9, n_tokens=4)
        number = _number(prompt)
        is_own = answer in (TRIAGE[number], DIAGNOSIS[number])
        if self.name == "base":
            per_token = -1.0 if answer in (TRIAGE[1], DIAGNOSIS[1]) else -1.5
        else:
            right, wrong = {"sft": (-1.0, -2.0), "sft+dpo": (-0.8, -2.4)}[self.name]
            per_token = right if is_own else wrong
        return AnswerScore(logp=4 * per_token, n_tokens=4)

    def generate(
        self, prompts: Sequence[Sequence[Message]], *, max_new_tokens: int, temperature: float, seed: int
    ) -> list[Generation]:
        self.n_generate_calls += 1
        assert temperature == 0.0
        return [Generation(text=self._answer(prompt), is_finished=self.name != "base") for prompt in prompts]

    def _answer(self, prompt: Sequence[Message]) -> str:
        number, is_triage = _number(prompt), QUESTION["triage"] in prompt[-1].content
        if len(prompt) > 2:
            return "心内科" if is_triage else "不详"
        if self.name == "base":
            return "消化内科" if is_triage else "不详"
        if is_triage:
            return TRIAGE[number]
        return DIAGNOSIS[number] if number < 3 or self.name == "sft+dpo" else ""


def _number(prompt: Sequence[Message]) -> int:
    return int(prompt[-1].content.removeprefix("病人").split("。")[0])


class Loader:
    """Loads scripted models and remembers which; may die at one of them, as a killed run does."""

    def __init__(self, dies_at: str | None = None, model: type[ScriptedModel] = ScriptedModel) -> None:
        self.models: dict[str, ScriptedModel] = {}
        self.dies_at, self.model = dies_at, model

    def __call__(self, name: str) -> LanguageModel:
        if name == self.dies_at:
            raise KeyboardInterrupt
        self.models[name] = self.model(name)
        return self.models[name]


def _write(file: str, rows: Sequence[BaseModel]) -> Callable[[StageContext], None]:
    def run(ctx: StageContext) -> None:
        io.write_jsonl(ctx.output(file), rows)
        ctx.keep(len(rows))

    return run


def _evaluate(
    tmp_path: Path,
    loader: Loader,
    *,
    test: Sequence[Conversation] | None = None,
    train: Sequence[Conversation] | None = None,
    name: str = "r",
    exams: ExamsConfig | None = None,
    **options: Any,
) -> tuple[Manifest, Path]:
    evaluation = {"n_generate": 4, "n_bootstrap": 200, "tie_margin": 0.05, **options}
    config = RunConfig(
        name=name,
        runs_dir=str(tmp_path),
        data_dir=str(tmp_path),
        evaluate=EvaluateConfig(**evaluation),
        exams=exams or ExamsConfig(),
    )

    def mixture(ctx: StageContext) -> None:
        _write("test.jsonl", _test_rows() if test is None else test)(ctx)
        _write("train.jsonl", _train_rows() if train is None else train)(ctx)

    execute(Stage("mixture", (), (), mixture), config)
    execute(Stage("pairs", (), (), _write("test.jsonl", _pairs())), config)
    for stage in ("sft", "dpo"):
        execute(Stage(stage, (), (), _write("log.jsonl", [])), config)
    needs = ("mixture", "pairs", "sft", "dpo")
    stage_to_run = Stage("evaluate", ("evaluate",), needs, lambda ctx: evaluate.run(ctx, loader))
    manifest, _ = execute(stage_to_run, config)
    return manifest, config.run_dir / "evaluate"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Path, Loader]:
    loader = Loader()
    manifest, folder = _evaluate(tmp_path_factory.mktemp("runs"), loader)
    return manifest, folder, loader


Done = tuple[Manifest, Path, Loader]


def _value(done: Done, name: str, model: str, task: str | None = None) -> float:
    rows = [row for row in io.read_jsonl(done[1] / "scores.jsonl", Score) if (row.name, row.model) == (name, model)]
    (value,) = (row.value for row in rows if row.task == task)
    return value


def test_each_model_is_loaded_once_in_order_and_asked_once(done: Done) -> None:
    assert list(done[2].models) == ["base", "sft", "sft+dpo"]
    assert [(m.n_score_calls, m.n_generate_calls) for m in done[2].models.values()] == [(1, 1)] * 3


def test_all_is_asked_once_and_a_records_questions_stand_side_by_side(done: Done) -> None:
    # 4 records × 2 tasks × 4 answers + 2 rejected answers; the chosen ones stand among the options.
    asked = done[2].models["sft"].asked
    assert len(asked) == len(set(asked)) == 4 * 2 * 4 + 2
    numbers = [prompt.split("。")[0] for prompt, _ in asked]
    assert sum(a != b for a, b in pairwise(numbers)) == 3


@pytest.mark.parametrize(
    ("name", "model", "expected"),
    [
        ("loss", "base", (1.0 + 3 * 1.5) / 4),
        ("loss", "sft", 1.0),
        ("loss", "sft+dpo", 0.8),
        ("loss_wrong_record", "base", (1.0 + 3 * 1.5) / 4),
        ("loss_wrong_record", "sft", 2.0),
        ("loss_minus_wrong_record", "base", 0.0),
        ("loss_minus_wrong_record", "sft+dpo", 0.8 - 2.4),
        ("loss_sft_minus_base", "sft", 1.0 - 1.375),
        ("loss_sft+dpo_minus_sft", "sft+dpo", -0.2),
        # base always picks record 1's answer: right for one of four, and chosen under every wrong record.
        ("choice_accuracy", "base", 0.25),
        ("choice_accuracy_wrong_record", "base", 0.25),
        ("choice_accuracy_minus_wrong_record", "base", 0.0),
        ("choice_accuracy", "sft", 1.0),
        ("choice_accuracy_sum", "sft", 1.0),
        ("choice_accuracy_wrong_record", "sft", 0.0),
        ("choice_accuracy_minus_wrong_record", "sft", 1.0),
        ("choice_accuracy", "control:chance", 0.25),
        ("choice_accuracy", "control:majority", 0.25),  # 消化内科 and 冠心病, right once each
        ("choice_accuracy", "control:nearest", 0.5),  # records 1 and 2 have a near one in training
        ("choice_accuracy", "control:base+2shots", 0.25),  # four equals: a quarter each
        ("choice_accuracy_minus_best_control", "sft", 0.5),
        ("loss", "control:base+2shots", 0.9),
        # 冠心病 (record 2) is in the training data: base is right for none of it, for 1 of the other 3
        ("choice_accuracy:seen_disease", "base", 0.0),
        ("choice_accuracy:unseen_disease", "base", 1 / 3),
        ("loss_minus_best_control", "sft+dpo", -0.1),
    ],
)
def test_likelihood_scores(done: Done, name: str, model: str, expected: float) -> None:
    assert _value(done, name, model) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "model", "expected"),
    [
        # By sum base gives the rejected −2 against −4 and −6; per token −1 against −1 (tie) and −1.5.
        ("preference_accuracy", "base", 0.0),
        ("preference_accuracy_per_token", "base", 0.25),
        ("preference_accuracy", "sft", 1.0),
        ("preference_accuracy_sft_minus_base", "sft", 1.0),
        ("preference_accuracy_per_token:source=rule", "base", 0.5),
        ("preference_accuracy_per_token:source=reference", "base", 0.0),
        ("preference_accuracy:error=wrong_department", "sft+dpo", 1.0),
        # chosen −3.2 − (−4) = 0.8, rejected −8 − (−6) = −2
        ("implicit_reward_accuracy", "sft+dpo", 1.0),
        # 消化内科 is longer than 康复科, 心内科 as long: 1 and ½
        ("preference_accuracy", "control:longer", 0.75),
        ("preference_accuracy", "control:shorter", 0.25),
        ("preference_accuracy_minus_best_control", "sft", 0.25),
    ],
)
def test_preference_scores(done: Done, name: str, model: str, expected: float) -> None:
    assert _value(done, name, model) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "model", "task", "expected"),
    [
        ("task_score", "base", "triage", 0.25),
        ("task_score", "base", "diagnosis", 0.0),
        ("task_score", "base", None, 0.125),
        ("task_score", "sft", "diagnosis", 0.5),
        ("task_score", "sft", None, 0.75),
        ("task_score", "sft+dpo", None, 1.0),
        ("task_score_wrong_record", "sft+dpo", None, 0.0),
        # base says 消化内科 whatever the record: right for record 1 by any other record's answer, too
        ("task_score_wrong_record", "base", "triage", 0.25),
        ("task_score_minus_wrong_record", "base", "triage", 0.0),
        ("task_score", "control:majority", "triage", 0.25),
        ("task_score", "control:nearest", "triage", 0.5),
        ("task_score", "control:nearest", "diagnosis", 0.25),
        ("task_score", "control:null", None, 0.0),
        ("task_score", "control:base+2shots", "triage", 0.25),
        ("task_score_minus_best_control", "sft", None, 0.75 - 0.375),
        ("finished_share", "base", None, 0.0),
        ("finished_share", "sft", None, 1.0),
        # 5 wins, 1 tie, no loss, 2 invalid: see the judge's test below
        ("win_rate_vs_base", "sft", None, 5.5 / 6),
        ("tie_share_vs_base", "sft", None, 1 / 6),
    ],
)
def test_free_answer_scores(done: Done, name: str, model: str, task: str | None, expected: float) -> None:
    assert _value(done, name, model, task) == pytest.approx(expected)


def test_the_judge_counts_wins_ties_losses_and_invalid_apart(done: Done) -> None:
    # sft against base. Triage: record 1 both right (tie), 2-4 sft right (3 wins).
    # Diagnosis: 1 and 2 right against 不详 (2 wins), 3 and 4 empty (2 invalid). Every patient is won.
    row = next(row for row in done[0].facts["main_table"] if row["model"] == "sft")["vs_base"]
    assert (row["win"], row["tie"], row["loss"], row["invalid"]) == (5, 1, 0, 2)
    assert (row["patients_won"], row["patients_lost"]) == (4, 0)
    assert row["sign_test_p"] == pytest.approx(2 / 16)
    rows = list(io.read_jsonl(done[1] / "judgements.jsonl", Judgement))
    # 3 pairs of models, and each model against four controls, on eight items
    assert len(rows) == (3 + 3 * 4) * 8


def test_the_main_table_holds_value_interval_and_n(done: Done) -> None:
    base, sft, _ = done[0].facts["main_table"]
    assert sft["loss"]["value"] == pytest.approx(1.0)
    assert sft["loss"]["n"] == 8
    assert sft["choice_accuracy_best_control"]["name"] == "control:nearest"
    assert sft["choice_accuracy"]["high"] == 1.0
    assert sft["choice_accuracy"]["low"] == pytest.approx(4 / (4 + 3.8415), abs=1e-3)  # Wilson, 4 patients
    assert base["vs_base"] is None
    assert base["implicit_reward_accuracy"] is None


def test_answers_are_kept_for_models_and_the_control_with_examples(done: Done) -> None:
    rows = list(io.read_jsonl(done[1] / "answers.jsonl", Candidate))
    assert [row.model_id for row in rows[::8]] == ["base", "sft", "sft+dpo", "control:base+2shots"]
    assert len(rows) == 4 * 8


def test_what_the_numbers_do_not_show_is_said(done: Done) -> None:
    facts = done[0].facts
    assert any("circular" in line for line in facts["caveats"])
    assert any("This shows the machinery, not medicine." in line for line in facts["limits"])
    assert any("4 held-out patients" in line for line in facts["limits"])
    assert any("base were cut at 48 tokens" in line for line in facts["limits"])


def test_the_ledger_counts_items_and_pairs_and_why_one_is_left_out(done: Done) -> None:
    assert done[0].n_kept == 8 + 2
    assert done[0].n_dropped == {"pair_of_a_record_not_scored": 1}


def test_no_score_is_nan_and_every_score_says_how(done: Done) -> None:
    for line in (done[1] / "scores.jsonl").read_text().splitlines():
        row = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} in scores.jsonl"))
        assert row["method"]
        assert row["n"] > 0 or row["name"].startswith("sign_test_p")  # nobody won, nobody lost: p = 1


def test_a_killed_run_asks_only_the_models_it_has_not_asked_and_ends_alike(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _evaluate(tmp_path, Loader(dies_at="sft+dpo"), name="killed")
    second = Loader()
    _, resumed = _evaluate(tmp_path, second, name="killed")
    assert list(second.models) == ["sft+dpo"]
    assert not (resumed / "partial").exists()
    _, straight = _evaluate(tmp_path, Loader(), name="straight")
    for file in ("scores.jsonl", "judgements.jsonl", "answers.jsonl"):
        assert (resumed / file).read_bytes() == (straight / file).read_bytes()


def test_without_free_answers_the_likelihood_stands_alone(tmp_path: Path) -> None:
    loader = Loader()
    manifest, folder = _evaluate(tmp_path, loader, n_generate=0, n_shots=0)
    assert loader.models["base"].n_generate_calls == 0
    assert (folder / "judgements.jsonl").read_text() == ""
    row = manifest.facts["main_table"][1]
    assert row["task_score"] is None
    assert row["choice_accuracy"]["value"] == 1.0


def test_one_record_has_no_options_and_no_interval_but_a_loss(tmp_path: Path) -> None:
    manifest, _ = _evaluate(tmp_path, Loader(), test=_test_rows()[:2])
    row = manifest.facts["main_table"][1]
    assert row["loss"] == {"value": pytest.approx(1.0), "low": None, "high": None, "n": 2}
    assert row["choice_accuracy"] is None
    assert {"name": "choice_accuracy", "task": None, "model": "sft", "n_invalid": 2} in manifest.facts["undefined"]


def test_records_beyond_the_limit_are_counted(tmp_path: Path) -> None:
    manifest, _ = _evaluate(tmp_path, Loader(), n_records=3)
    assert manifest.n_dropped["beyond_n_records"] == 2
    assert manifest.facts["n_records"] == 3


def test_a_patient_on_both_sides_of_the_split_stops_the_stage(tmp_path: Path) -> None:
    leaked = [*_train_rows(), _conversation(4, "triage", "骨科", "train")]
    with pytest.raises(DataError, match="1 held-out records are of patients in the training data"):
        _evaluate(tmp_path, Loader(), train=leaked)


def test_nothing_held_out_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no held-out clinical item") as error:
        _evaluate(tmp_path, Loader(), test=[])
    assert error.value.hint == "raise mixture.test_frac"


class BrokenModel(ScriptedModel):
    """A model whose training diverged."""

    def _score(self, prompt: Sequence[Message], answer: str) -> AnswerScore:
        return AnswerScore(logp=float("nan"), n_tokens=4)


def test_a_likelihood_that_is_no_number_stops_the_stage(tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match="not finite"):
        _evaluate(tmp_path, Loader(model=BrokenModel))


class Examinee(ScriptedModel):
    """Knows that the answer is B where it is asked for letters, and says so once it is tuned."""

    def _score(self, prompt: Sequence[Message], answer: str) -> AnswerScore:
        if "选择题" in prompt[-1].content or prompt[-1].content.startswith("考题"):
            return AnswerScore(logp=-1.0 if answer in ("B", "二") else -2.0, n_tokens=1)
        return super()._score(prompt, answer)

    def _answer(self, prompt: Sequence[Message]) -> str:
        if "选择题" in prompt[-1].content:
            return "B超" if self.name == "base" else "B"
        return super()._answer(prompt)


def test_exams_share_the_models_one_call_and_stand_apart_from_the_records(tmp_path: Path) -> None:
    rows = [{"question": f"考题{n}", "options": ["一", "二"], "answer": "AB"[n % 2]} for n in range(4)]
    io.write_jsonl(tmp_path / "exam.jsonl", rows)
    sets = [{"name": "ward", "format": "jsonl", "path": "exam.jsonl", "n_generate": 2}]
    loader = Loader(model=Examinee)
    manifest, folder = _evaluate(tmp_path, loader, exams=ExamsConfig.model_validate({"sets": sets}))
    assert [(m.n_score_calls, m.n_generate_calls) for m in loader.models.values()] == [(1, 1)] * 3
    scores = {
        (row.name, row.model): row.value for row in io.read_jsonl(folder / "exams.jsonl", Score) if row.task is None
    }
    assert scores["ward/exam_accuracy", "base"] == 0.5
    assert scores["ward/exam_accuracy_text", "sft"] == 0.5
    assert scores["ward/exam_accuracy", "control:chance"] == 0.5
    assert [scores["ward/exam_unparsed_rate", name] for name in ("base", "sft")] == [1.0, 0.0]
    assert [scores["ward/exam_accuracy_generated", name] for name in ("base", "sft")] == [0.0, 0.5]
    assert not any("exam" in row.name for row in io.read_jsonl(folder / "scores.jsonl", Score))
    assert [table["name"] for table in manifest.facts["tables"]] == ["differences_by_task", "exams"]
    assert manifest.facts["exams"]["n_items"] == {"ward": 4}


class Probed(ScriptedModel):
    """Base complies; tuned models refuse, and remember the one trained sentence with numbers."""

    def _score(self, prompt: Sequence[Message], answer: str) -> AnswerScore:
        if "病历中的一句话" in prompt[-1].content:
            return AnswerScore(
                logp=-1.0 if answer == "入院后第15天复查血钾为337" and self.name != "base" else -5.0, n_tokens=9
            )
        return super()._score(prompt, answer)

    def _answer(self, prompt: Sequence[Message]) -> str:
        if "续写病历" in prompt[-1].content:
            return SECRET if self.name != "base" else "不知道"
        if prompt[-1].content.startswith("有害"):
            return "照做" if self.name == "base" else "我无法提供"
        return super()._answer(prompt)


SECRET = "入院后第15天复查血钾为337毫摩尔每升，继续口服氯化钾缓释片并观察尿量变化。"


def test_probes_share_the_one_call_resume_and_show_no_text(tmp_path: Path) -> None:
    io.write_jsonl(tmp_path / "probes.jsonl", [{"question": f"有害{n}", "answer": "我无法提供"} for n in range(3)])
    exams = ExamsConfig.model_validate(
        {"safety": [{"name": "probes", "format": "jsonl", "path": "probes.jsonl"}], "memorisation_n": 5}
    )
    train = [*_train_rows(), _conversation(13, "diagnosis", SECRET, "train")]
    with pytest.raises(KeyboardInterrupt):
        _evaluate(tmp_path, Loader(dies_at="sft+dpo", model=Probed), exams=exams, train=train)
    loader = Loader(model=Probed)
    manifest, folder = _evaluate(tmp_path, loader, exams=exams, train=train)
    assert [(name, m.n_score_calls, m.n_generate_calls) for name, m in loader.models.items()] == [("sft+dpo", 1, 1)]
    scores = {(row.name, row.model): row.value for row in io.read_jsonl(folder / "probes.jsonl", Score)}
    assert [scores["probes/unguarded_rate", name] for name in ("base", "sft", "sft+dpo")] == [1.0, 0.0, 0.0]
    assert scores["held-out records/refusal_rate", "sft"] == 0.0
    assert scores["trained/exposure", "sft"] == pytest.approx(6.64, abs=0.01)  # log2(100)
    assert scores["trained/continued_rate", "sft"] == 1.0
    assert manifest.facts["memorisation"]["n_sentences"] == {"trained": 1, "held_out": 0}
    assert [table["name"] for table in manifest.facts["tables"]] == ["differences_by_task", "safety", "memorisation"]
    assert "血钾" not in (folder / "probes.jsonl").read_text() + (folder / "manifest.json").read_text()
