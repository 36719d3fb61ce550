"""What each process does that ``test_distributed.py`` launches, and the data it works on.

``python -m torch.distributed.run --nproc-per-node 2 -m tests.numerics.launched ROOT``: trains SFT and DPO
under ROOT, stops and resumes, and leaves results under ``ROOT/rank0``, ``ROOT/rank1``. With ``fail VERB
RUN.toml`` in ROOT's place: the command line, failing in one process.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from iimedgpt import cli, dpo, io, sft
from iimedgpt.chain import stage_named
from iimedgpt.config import RunConfig
from iimedgpt.engine import distributed, trainer
from iimedgpt.errors import Interrupted, TrainingError
from iimedgpt.run import Stage, StageContext, execute
from iimedgpt.types import Conversation, Message, PreferencePair

SYSTEM = Message(role="system", content="s")
RUN: dict[str, Callable[[StageContext], None]] = {"sft": sft.run, "dpo": dpo.run}
STOPPED_AT = 3  # the step at which a signal reaches one process; the step after it is finished and saved


def conversations() -> list[Conversation]:
    """Five records with one, two or three tasks: packs of unequal number and size."""
    return [
        Conversation(
            conversation_id=f"r{record}t{task}",
            messages=(
                SYSTEM,
                Message(role="user", content=f"record {record} with findings {record * 7}\n\ntask {task}"),
                Message(role="assistant", content=f"answer {task} of {record}"),
            ),
            group_id=f"p{record}",
            source="test",
            license="none",
            split="train",
            task=f"task{task}",
            record_id=f"r{record}",
        )
        for record in range(5)
        for task in range(1 + record % 3)
    ]


def pairs() -> list[PreferencePair]:
    """Seven pairs of four records."""
    return [
        PreferencePair(
            pair_id=str(index),
            prompt=(SYSTEM, Message(role="user", content=f"record {index // 2}\n\nquestion {index}")),
            chosen=f"good answer {index}",
            rejected=f"bad {index}",
            source="rule",
            group_id=f"p{index // 2}",
            split="train",
            record_id=f"r{index // 2}",
        )
        for index in range(7)
    ]


def prepare(root: Path, adapter: Path | None = None) -> None:
    """The inputs of SFT, and with its adapter those of DPO."""
    io.write_jsonl(root / "tiny" / "mixture" / "train.jsonl", conversations())
    io.write_jsonl(root / "tiny" / "mixture" / "validation.jsonl", conversations()[:2])
    io.write_jsonl(root / "tiny" / "pairs" / "train.jsonl", pairs())
    if adapter is not None:
        shutil.copytree(adapter, root / "tiny" / "sft" / "adapter")


def train(
    stage: str, root: Path, results: Path, *, dtype: str = "float32", compute: str = "float32", **options: Any
) -> StageContext:
    """Run one training stage under ``root``; adapter and log go to ``results``."""
    train = {"rank": 4, "learning_rate": 1e-3, "groups_per_step": 2, "tokens_per_pack": 128, "epochs": 2.0, **options}
    config = RunConfig.model_validate(
        {
            "name": "tiny",
            "runs_dir": str(root),
            "model": {"name": "tiny", "dtype": dtype, "compute": compute},
            stage: train,
        }
    )
    directory = io.make_private_dir(config.run_dir / stage)
    context = StageContext(stage_named(stage), config, directory, scratch=io.make_private_dir(results))
    RUN[stage](context)
    return context


def main(root: Path) -> None:
    """SFT and DPO through; DPO in bfloat16; DPO with dropout through, and stopped by a signal and resumed."""
    rank = distributed.join().rank
    own = root / f"rank{rank}"
    wrapped = _record_wrappers()
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        _let_fsdp_run_on_cpu()
    train("sft", root, own / "sft")
    train("dpo", root, own / "dpo")
    train("dpo", root / "bfloat16", own / "bfloat16", compute="bfloat16")
    options = {"dropout": 0.1, "save_every": 100}
    train("dpo", root / "through", own / "through", **options)
    stop = _signal_to_one(rank)
    try:
        train("dpo", root / "resumed", own / "resumed", **options)
    except Interrupted:
        stop()
        train("dpo", root / "resumed", own / "resumed", **options)
    io.write_json(own / "wrapped.json", wrapped)
    _run_a_stage_that_does_not_train(root, own)
    distributed.leave()


def _run_a_stage_that_does_not_train(root: Path, own: Path) -> None:
    def run(ctx: StageContext) -> None:
        with (root / "ran.txt").open("a") as out:
            out.write(str(distributed.join().rank))
        ctx.keep()

    config = RunConfig.model_validate({"name": "waiting", "runs_dir": str(root)})
    manifest, has_run = execute(Stage("records", ("records",), (), run), config, processes=distributed.join())
    io.write_text(own / "manifest.txt", f"{'ran' if has_run else 'skipped'}, {manifest.n_kept} kept")


def fail_in_one(*arguments: str) -> None:
    """The command line, with a training that fails in the last process alone."""
    compute_loss = trainer.TrieTrainer.compute_loss

    def failing(self: Any, *args: Any, **kwargs: Any) -> Any:
        if distributed.join().rank == 1 and self.state.global_step == 1:
            raise TrainingError("loss is nan at step 2", hint="a hint")
        return compute_loss(self, *args, **kwargs)

    trainer.TrieTrainer.compute_loss = failing  # type: ignore[method-assign]
    sys.argv[1:] = arguments
    cli.main()


def _record_wrappers() -> list[str]:
    """The type that trained, by name, of each training to come."""
    names: list[str] = []
    library: Any = trainer.TrieTrainer.train

    def recording(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = library(self, *args, **kwargs)
        names.append(type(self.model_wrapped).__name__)
        return result

    trainer.TrieTrainer.train = recording  # type: ignore[method-assign]
    return names


def _let_fsdp_run_on_cpu() -> None:
    """On CPU accelerate turns FSDP into DDP without a word, unless it takes the processes for GPUs."""
    from accelerate import PartialState
    from accelerate.utils import DistributedType

    arguments = trainer._arguments

    def as_if_on_gpus(*args: Any, **kwargs: Any) -> Any:
        made = arguments(*args, **kwargs)
        PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
        return made

    trainer._arguments = as_if_on_gpus


def _signal_to_one(rank: int) -> Callable[[], None]:
    """SIGTERM for the last process only, after its third step; returns what takes the trap away."""
    on_log = trainer._Progress.on_log

    def trapped(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        on_log(self, args, state, control, **kwargs)
        if rank == 1 and state.global_step == STOPPED_AT:
            os.kill(os.getpid(), signal.SIGTERM)

    trainer._Progress.on_log = trapped  # type: ignore[method-assign]

    def take_away() -> None:
        trainer._Progress.on_log = on_log  # type: ignore[method-assign]

    return take_away


if __name__ == "__main__":
    if sys.argv[1] == "fail":
        fail_in_one(*sys.argv[2:])
    else:
        main(Path(sys.argv[1]))
