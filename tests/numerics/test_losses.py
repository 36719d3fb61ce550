"""Losses against values derived by hand; weights and groups of a step."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from iimedgpt import dpo, sft
from iimedgpt.config import DPOConfig, ModelConfig
from iimedgpt.engine.batches import Plan, plan_training
from iimedgpt.engine.logps import token_logps
from iimedgpt.engine.losses import PREFERENCE_LOSSES, Pairs, nll_per_token, sft_loss, sum_by_owner, token_weights
from iimedgpt.engine.models import load_model
from iimedgpt.engine.trie import TokenSequence
from iimedgpt.types import Conversation, Message, PreferencePair
from tests.numerics import tiny_training


def _sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def _cross_entropy(x: float, smoothing: float = 0.0) -> float:
    return -(1 - smoothing) * log(_sigmoid(x)) - smoothing * log(_sigmoid(-x))


def _pairs(
    chosen: float = -4.0,
    rejected: float = -9.0,
    reference_chosen: float = -6.0,
    reference_rejected: float = -6.0,
    **settings: float,
) -> Pairs:
    """One pair: two tokens chosen, three rejected.

    margin = (−4 + 6) − (−9 + 6) = 5; per token (−4 + 6)/2 − (−9 + 6)/3 = 2; advantage −4/2 + 9/3 = 1.
    """
    values = (chosen, rejected, reference_chosen, reference_rejected, 2.0, 3.0)
    return Pairs(*(torch.tensor([value]) for value in values), **settings)


def _loss(kind: str, pairs: Pairs) -> tuple[float, float]:
    loss_P, margin_P = PREFERENCE_LOSSES[kind].of(pairs)
    return loss_P.item(), margin_P.item()


# ---------------------------------------------------------------------------------------- preference losses


@pytest.mark.parametrize(
    ("kind", "settings", "loss", "margin"),
    [
        ("sigmoid", {"beta": 0.3}, _cross_entropy(0.3 * 5), 5.0),
        ("sigmoid", {"beta": 0.3, "label_smoothing": 0.1}, _cross_entropy(0.3 * 5, 0.1), 5.0),
        ("norm", {"beta": 0.5}, _cross_entropy(0.5 * 2), 2.0),
        ("norm", {"beta": 0.5, "label_smoothing": 0.2}, _cross_entropy(0.5 * 2, 0.2), 2.0),
        ("ipo", {"beta": 0.25}, 0.0, 2.0),  # 1/(2·0.25) = 2, which the margin meets
        ("ipo", {"beta": 0.5}, 1.0, 2.0),  # (2 − 1)²
        ("ipo", {"beta": 0.5, "label_smoothing": 0.25}, 0.75 * 1 + 0.25 * 9, 2.0),  # flipped: (−2 − 1)²
        ("simpo", {"beta": 2.0, "gamma": 0.5}, _cross_entropy(2 * 1 - 0.5), 1.0),
        ("simpo", {"beta": 2.0, "gamma": 0.5, "label_smoothing": 0.1}, _cross_entropy(2 * 1 - 0.5, 0.1), 1.0),
    ],
)
def test_preference_loss_and_margin_are_those_derived_by_hand(
    kind: str, settings: dict[str, float], loss: float, margin: float
) -> None:
    assert _loss(kind, _pairs(**settings)) == pytest.approx((loss, margin), rel=1e-6, abs=1e-9)


def test_dpo_at_margin_zero_is_log_two_whatever_beta_and_smoothing() -> None:
    pairs = _pairs(chosen=-6.0, rejected=-6.0, beta=0.7, label_smoothing=0.3)
    assert _loss("sigmoid", pairs) == pytest.approx((log(2), 0.0))


def test_the_gradient_of_dpo_is_minus_beta_times_sigmoid_of_minus_beta_margin() -> None:
    chosen = torch.tensor([-4.0], requires_grad=True)
    fixed = (torch.tensor([value]) for value in (-9.0, -6.0, -6.0, 2.0, 3.0))
    PREFERENCE_LOSSES["sigmoid"].of(Pairs(chosen, *fixed, beta=0.3))[0].sum().backward()
    assert chosen.grad is not None
    assert chosen.grad.item() == pytest.approx(-0.3 * _sigmoid(-0.3 * 5), rel=1e-6)


def test_smoothed_ipo_pulls_the_margin_to_a_target_shrunk_by_the_flipped_labels() -> None:
    # (1 − 2·0.25)/(2·0.5) = 0.5 a token: chosen −6 + 2·0.5 against a rejected answer at its reference
    chosen = torch.tensor([-5.0], requires_grad=True)
    fixed = (torch.tensor([value]) for value in (-6.0, -6.0, -6.0, 2.0, 3.0))
    PREFERENCE_LOSSES["ipo"].of(Pairs(chosen, *fixed, beta=0.5, label_smoothing=0.25))[0].sum().backward()
    assert chosen.grad is not None
    assert chosen.grad.item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("kind", PREFERENCE_LOSSES)
def test_a_loss_that_needs_no_reference_ignores_it_and_one_that_needs_it_does_not(kind: str) -> None:
    settings = {"beta": 1.0, "gamma": 0.5}
    here = _loss(kind, _pairs(**settings))
    there = _loss(kind, _pairs(reference_chosen=5.0, reference_rejected=-7.0, **settings))
    assert (here != there) == PREFERENCE_LOSSES[kind].needs_reference


def test_every_loss_can_be_configured_and_every_configurable_loss_exists() -> None:
    assert set(get_args(DPOConfig.model_fields["loss"].annotation)) == PREFERENCE_LOSSES.keys()


def test_nll_is_per_token_of_the_chosen_answer() -> None:
    assert nll_per_token(_pairs(beta=1.0)).item() == pytest.approx(2.0)  # 4 nats over 2 tokens


def test_chosen_answers_have_even_places() -> None:
    sums, reference, n = (torch.arange(4.0) + start for start in (0, 10, 20))
    pairs = Pairs.by_turns(sums, reference, n, beta=0.1, gamma=0.2, label_smoothing=0.3)
    assert (pairs.chosen_P.tolist(), pairs.rejected_P.tolist()) == ([0, 2], [1, 3])
    assert (pairs.reference_chosen_P.tolist(), pairs.reference_rejected_P.tolist()) == ([10, 12], [11, 13])
    assert (pairs.n_chosen_P.tolist(), pairs.n_rejected_P.tolist()) == ([20, 22], [21, 23])


def test_sums_are_per_sequence_even_for_sequences_without_scored_tokens() -> None:
    sums = sum_by_owner(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([2, 0, 2]), 3)
    assert sums.tolist() == [2.0, 0.0, 5.0]


# ------------------------------------------------------------------------------- supervised loss, its weights


def test_sft_is_the_weighted_mean_when_weights_sum_to_one() -> None:
    # −(0.25·(−1) + 0.75·(−3)) = 0.25 + 2.25
    assert sft_loss(torch.tensor([-1.0, -3.0]), torch.tensor([0.25, 0.75])).item() == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("weighting", "per_token"),
    [
        ("token", [1 / 10] * 4),  # 1 + 4 + 2 + 3 tokens
        ("answer", [1 / 4, 1 / 16, 1 / 8, 1 / 12]),  # four answers of 1/4
        ("task", [1 / 6, 1 / 24, 1 / 6, 1 / 9]),  # three tasks of 1/3; the first has two answers of 1/6
    ],
)
def test_weights_of_a_step(weighting: str, per_token: list[float]) -> None:
    n_scored = [1, 4, 2, 3]
    weights = token_weights(weighting, n_scored, ["triage", "triage", "diagnosis", None])
    assert weights == pytest.approx(per_token)
    assert sum(w * n for w, n in zip(weights, n_scored, strict=True)) == pytest.approx(1.0)


SEQUENCES = (  # two records; lengths of the answers 1, 4, 2, 3, 1
    TokenSequence((1, 2, 3, 4, 5), 4),
    TokenSequence((1, 2, 3, 6, 7, 8, 9), 3),
    TokenSequence((1, 2, 3, 4, 9, 9), 4),
    TokenSequence((11, 12, 13, 14, 15), 2),
    TokenSequence((11, 12, 16, 17), 3),
)
TASKS = ("triage", "basis", "triage", None, "basis")
CUTS = {  # the same step in one pack, in packs of other sizes and orders, one answer each, with a filler pack
    "one": ((0, 1, 2, 3, 4),),
    "some": ((0, 3), (1, 2, 4)),
    "other order": ((4, 0), (2, 1, 3)),
    "each": ((0,), (1,), (2,), (3,), (4,)),
    "filled up": ((0, 1, 2), (3, 4), ()),
}


@pytest.fixture(scope="module")
def model() -> Any:
    """A tiny model in which everything trains."""
    loaded = load_model(ModelConfig(name="tiny", compute="float32", device="cpu")).model
    for parameter in loaded.parameters():
        parameter.requires_grad_(True)
    return loaded.eval()


def _step(model: Any, packs: Sequence[Any], loss_of: Any) -> tuple[float, torch.Tensor]:
    """(loss, gradient) of an optimiser step: both are sums over its packs."""
    model.zero_grad()
    loss = torch.zeros(())
    for batch in packs:
        part = loss_of(token_logps(model, batch), batch)[0]
        part.backward()
        loss += part.detach()
    return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("weighting", ["token", "answer", "task"])
def test_the_step_of_sft_does_not_depend_on_how_it_is_cut_into_packs(weighting: str, model: Any) -> None:
    steps = {}
    for name, cut in CUTS.items():
        packs, _ = sft._packs(SEQUENCES, TASKS, Plan((cut,)), weighting)
        assert sum(float(batch["weight"].sum()) for batch in packs) == pytest.approx(1.0, abs=1e-6)
        steps[name] = _step(model, packs, sft._loss_of)
    loss, gradient = steps.pop("one")
    assert gradient.abs().max() > 1e-3
    for name, (other_loss, other_gradient) in steps.items():
        assert other_loss == pytest.approx(loss, rel=1e-6), name
        assert float((other_gradient - gradient).abs().max()) < 1e-5 * float(gradient.abs().max()), name


def test_weighting_decides_what_counts_alike_in_the_loss_of_a_step(model: Any) -> None:
    """By hand from each answer's own log-probabilities, read alone."""
    alone = []
    for sequence in SEQUENCES:
        (batch,), _ = sft._packs([sequence], [None], Plan((((0,),),)), "token")
        alone.append(float(token_logps(model, batch).detach().mean()))
    lengths = [sequence.n_scored for sequence in SEQUENCES]
    expected = {
        "token": -sum(mean * n for mean, n in zip(alone, lengths, strict=True)) / sum(lengths),
        "answer": -sum(alone) / 5,
        "task": -((alone[0] + alone[2]) / 2 + (alone[1] + alone[4]) / 2 + alone[3]) / 3,
    }
    for weighting, loss in expected.items():
        packs, _ = sft._packs(SEQUENCES, TASKS, Plan((CUTS["some"],)), weighting)
        assert _step(model, packs, sft._loss_of)[0] == pytest.approx(loss, rel=1e-5), weighting


@pytest.mark.parametrize("kind", PREFERENCE_LOSSES)
def test_the_step_of_dpo_does_not_depend_on_how_its_pairs_are_cut_into_packs(kind: str, model: Any) -> None:
    sequences = [*SEQUENCES[:4], SEQUENCES[4], TokenSequence((11, 12, 16, 18, 19), 3)]
    reference = {sequence.ids: -1.0 - place for place, sequence in enumerate(sequences)}
    config = DPOConfig(loss=kind, beta=0.5, label_smoothing=0.1, nll_weight=0.2)
    steps = []
    for cut in (((0, 1, 2, 3, 4, 5),), ((0, 1), (2, 3, 4, 5)), ((4, 5), (2, 3), (0, 1)), ((0, 1, 2, 3), (4, 5), ())):
        packs = dpo._packs(sequences, Plan((cut,)))
        assert sum(float(batch["weight"].sum()) for batch in packs) == pytest.approx(1.0, abs=1e-6)
        for batch, pack in zip(packs, cut, strict=True):
            batch["reference"] = torch.tensor([[reference[sequences[i].ids] for i in pack] or [0.0, 0.0]])
        steps.append(_step(model, packs, lambda logps_S, batch: dpo._loss_of(logps_S, batch, config)))
    (loss, gradient), *others = steps
    assert gradient.abs().max() > 1e-3
    for other_loss, other_gradient in others:
        assert other_loss == pytest.approx(loss, rel=1e-6)
        assert float((other_gradient - gradient).abs().max()) < 1e-5 * float(gradient.abs().max())


# ------------------------------------------------------------------------------------------------- grouping


def _conversation(record: int, task: int) -> Conversation:
    return Conversation(
        conversation_id=f"r{record}t{task}",
        messages=(Message(role="user", content="q"), Message(role="assistant", content="a")),
        group_id=f"p{record}",
        source="test",
        license="none",
        split="train",
        task=f"task{task}",
        record_id=f"r{record}",
    )


def _pair(record: int, task: int) -> PreferencePair:
    return PreferencePair(
        pair_id=f"r{record}t{task}",
        prompt=(Message(role="user", content="q"),),
        chosen="a",
        rejected="b",
        source="rule",
        group_id=f"p{record}",
        split="train",
        record_id=f"r{record}",
    )


@pytest.mark.parametrize(("groups_of", "row"), [(sft._groups, _conversation), (dpo._groups, _pair)])
def test_grouping_keeps_a_record_in_one_step_or_draws_its_rows_at_random(groups_of: Any, row: Any) -> None:
    rows = [row(record, task) for record in range(8) for task in range(3)]
    sequences = [TokenSequence((1, record, 2, task), 3) for record in range(8) for task in range(3)]

    def records_of_steps(grouping: str, groups_per_step: int) -> list[list[str]]:
        plan = plan_training(
            sequences, groups_of(rows, grouping), epochs=1.0, groups_per_step=groups_per_step, budget=1_000, seed=0
        )
        members = [sorted(i for pack in step for i in pack) for step in plan.steps]
        assert sorted(i for step in members for i in step) == list(range(24))  # an epoch reads each row once
        return [[rows[i].record_id for i in step] for step in members]

    grouped, shuffled = records_of_steps("record", 2), records_of_steps("shuffled", 2 * 3)
    assert [len(step) for step in grouped] == [len(step) for step in shuffled] == [6] * 4
    assert [len(set(step)) for step in grouped] == [2] * 4  # two records, whole
    assert min(len(set(step)) for step in shuffled) > 2


def test_all_turns_of_a_shuffled_conversation_stay_together() -> None:
    rows = [_conversation(0, 0), _conversation(0, 0), _conversation(0, 1)]  # a row a turn
    assert sft._groups(rows, "shuffled") == [[0, 1], [2]]
    assert sft._groups(rows, "record") == [[0, 1, 2]]


def test_the_stages_train_on_shuffled_rows_per_task_and_without_a_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_training.write_inputs(tmp_path)
    fine_tuning = tiny_training.context(tmp_path, "sft", weighting="task", grouping="shuffled", max_steps=2)
    sft.run(fine_tuning)
    assert fine_tuning.facts["n_steps"] == 2
    monkeypatch.setattr(dpo, "_add_reference", lambda *_: pytest.fail("SimPO read a reference"))
    settings = {"loss": "simpo", "beta": 2.0, "gamma": 1.0, "dropout": 0.0, "max_steps": 8}
    alignment = tiny_training.context(tmp_path, "dpo", grouping="shuffled", groups_per_step=8, **settings)
    dpo.run(alignment)
    assert alignment.facts["step0_max_margin"] is None
    assert alignment.facts["last_loss"] < alignment.facts["first_loss"]
    assert alignment.facts["last_accuracy"] == 1.0
