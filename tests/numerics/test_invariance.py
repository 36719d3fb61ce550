"""What must change nothing: how a step is cut into packs, and what stands beside a trie in its pack."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.gemma3.modeling_gemma3 import Gemma3MLP

from iimedgpt import dpo, io, sft
from iimedgpt.engine.logps import token_logps, trie_tensors
from iimedgpt.engine.trie import TokenSequence, build_trie
from tests.numerics.architectures import CASES, build, random_ids, six_tasks_of_two_records
from tests.numerics.tiny_training import context, write_inputs

STAGES = {"sft": sft, "dpo": dpo}
N_RECORDS = 13  # one for validation; twelve make a step of eight and one of four, which needs filler packs
# Trie tokens that hold one record (or the pairs of one), two, and all eight of a step.
BUDGETS = {"sft": {8: 100, 4: 170, 1: 4096}, "dpo": {8: 120, 4: 195, 1: 4096}}


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fine_tuned")
    write_inputs(root, N_RECORDS)
    sft.run(context(root, "sft", max_steps=2))
    return root


def _steps(stage: str, root: Path, n_packs: int, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> list[dict]:
    """Logged rows of a training whose steps are read in so many packs."""
    module: Any = STAGES[stage]
    train, asked = module.train, []

    def counted(*args: Any, **kwargs: Any) -> Any:
        asked.append(kwargs["packs_per_step"])
        return train(*args, **kwargs)

    budget = BUDGETS[stage][n_packs]
    options = {"groups_per_step": 8, "epochs": 1.0, "dropout": 0.0, "learning_rate": 1e-3, "tokens_per_pack": budget}
    with monkeypatch.context() as patch:
        patch.setattr(module, "train", counted)
        module.run(context(root, stage, **options | changes))
    assert asked == [n_packs]
    return [row for _, row in io.read_json_lines(root / "tiny" / stage / "log.jsonl") if "loss" in row]


@pytest.mark.parametrize("stage", STAGES)
def test_eight_records_read_in_one_pack_in_four_or_in_eight_are_one_step(
    stage: str, fine_tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole: list[dict] = []
    for n_packs in (1, 4, 8):
        root = tmp_path / str(n_packs)
        write_inputs(root, N_RECORDS)
        if stage == "dpo":
            shutil.copytree(fine_tuned / "tiny" / "sft", root / "tiny" / "sft")
        steps = _steps(stage, root, n_packs, monkeypatch)
        assert len(steps) == 2
        whole = whole or steps
        for found, expected in zip(steps, whole, strict=True):
            for key in ("loss", "grad_norm"):
                assert found[key] == pytest.approx(expected[key], rel=1e-5), (n_packs, key)
    assert all(row["grad_norm"] > 1e-3 for row in whole)
    assert whole[0]["loss"] != whole[1]["loss"]


def test_recomputing_activations_leaves_every_step_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs, n_reads = [], []
    act = Gemma3MLP.forward

    def counted(self: Any, x: torch.Tensor) -> torch.Tensor:
        n_reads[-1] += torch.is_grad_enabled() and type(x) is torch.Tensor and x.device.type == "cpu"
        return act(self, x)

    monkeypatch.setattr(Gemma3MLP, "forward", counted)
    for is_recomputed in (False, True):
        root = tmp_path / str(is_recomputed)
        write_inputs(root, N_RECORDS)
        n_reads.append(0)
        logs.append(_steps("sft", root, 4, monkeypatch, checkpointing=is_recomputed, dropout=0.1))
    assert n_reads[1] == 2 * n_reads[0] > 0
    assert logs[0] == logs[1]


def _prefix_rows(end_T: Sequence[int], last: int) -> set[int]:
    return {k for k in range(last + 1) if last < end_T[k]}


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_log_probabilities_depend_on_their_own_prefix_and_on_nothing_else_at_all(name: str, kind: str) -> None:
    """Gradients on the embedded tokens: exactly zero outside the path to the last row that predicts."""
    model = build(name, kind)
    embedded: list[torch.Tensor] = []
    model.get_input_embeddings().register_forward_hook(lambda _, __, out: embedded.append(out))
    sequences = six_tasks_of_two_records()
    trie = build_trie(sequences)
    logps_S = token_logps(model, trie_tensors(trie))
    owner_S = torch.as_tensor(trie.owner_S)
    is_reach_bounded = name in ("mistral", "phi3")  # a window in every layer
    for index in range(len(sequences)):
        (gradient,) = torch.autograd.grad(logps_S[owner_S == index].sum(), embedded, retain_graph=True)
        touched = set(torch.nonzero(gradient[0].abs().sum(-1)).squeeze(1).tolist())
        own = _prefix_rows(trie.end_T.tolist(), int(trie.rows_S[trie.owner_S == index][-1]))
        assert touched <= own if is_reach_bounded else touched == own
        assert max(own) in touched


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_neighbours_in_a_pack_add_nothing_to_log_probabilities_and_gradients(name: str, kind: str) -> None:
    trunk = (40, *random_ids(17, seed=1))
    kept = [TokenSequence((*trunk, *random_ids(n, seed=n)), 12) for n in (4, 9)]
    before = [TokenSequence((5, *random_ids(30, seed=s)), 4) for s in (2, 3)]
    after = [TokenSequence((90, *random_ids(n, seed=n)), 6) for n in (50, 25)]
    results = []
    for others in ([], before[:1], before[1:], [*before, *after], after[1:]):
        model = build(name, kind)
        trie = build_trie([*kept, *others])
        logps_S = token_logps(model, trie_tensors(trie))
        mine_S = logps_S[torch.as_tensor(trie.owner_S) < len(kept)]
        mine_S.sum().backward()
        results.append((mine_S.detach(), {key: p.grad for key, p in model.named_parameters()}))
    alone_S, gradients = results[0]
    rounding = 1e-6 * max(g.abs().max().item() for g in gradients.values())
    for found_S, found in results[1:]:
        torch.testing.assert_close(found_S, alone_S, rtol=0, atol=1e-5)
        for key, gradient in gradients.items():
            worst = (found[key] - gradient).abs().max().item()
            assert worst < 1e-5 * gradient.abs().max().item() + rounding, key
