"""Several processes: how they find each other, agree, and put together what each holds a part of.

``torchrun`` or ``accelerate launch`` starts the same command once a device and says in the
environment which is which. The first process (rank 0) decides, reads and writes; the others follow
it and train their share of the packs. Alone, everything here costs nothing and changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.tensor import DTensor, distribute_tensor

from iimedgpt.errors import DataError, IIMedGPTError, TrainingError
from iimedgpt.run import Processes

Item = TypeVar("Item")
Value = TypeVar("Value")

PATIENCE = timedelta(days=30)  # the others wait while the first works; a process that dies ends the wait at once


@cache
def join() -> Processes:
    """Meet the other processes of this launch; alone where there is no launch.

    Raises:
        DataError: the launch names more processes than this machine has CUDA devices.
    """
    n_processes = int(os.environ.get("WORLD_SIZE", "1"))
    if n_processes == 1:
        return Processes()
    # Each process scores with the whole model before it is sharded: no empty copies, please.
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    if not dist.is_initialized():
        dist.init_process_group(_backend(int(os.environ["LOCAL_RANK"])))
    _talk()
    return Processes(dist.get_rank(), n_processes, from_first)


def _backend(local_rank: int) -> str:
    if not torch.cuda.is_available():
        return "gloo"
    if local_rank >= torch.cuda.device_count():
        raise DataError(
            f"process {local_rank} of this machine has no CUDA device of its own",
            expected=f"at most {torch.cuda.device_count()} processes",
            hint="lower --nproc-per-node (or --num_processes)",
        )
    torch.cuda.set_device(local_rank)
    return "cpu:gloo,cuda:nccl"


def leave() -> None:
    """Part from the other processes, all work done."""
    if dist.is_initialized():
        dist.destroy_process_group()


@cache
def _talk() -> dist.ProcessGroup:
    """The line on which processes agree: it may be silent for as long as a stage takes."""
    group: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=PATIENCE)
    return group


def is_first() -> bool:
    """True in the process that writes: the only one, or rank 0 of several."""
    return not dist.is_initialized() or dist.get_rank() == 0


def from_first(make: Callable[[], Value]) -> Value:
    """What the first process makes, given to all of them, so that they decide alike.

    Raises:
        IIMedGPTError: what ``make`` raised, in every process.
    """
    if not dist.is_initialized():
        return make()
    box: list[Any] = [None]
    if is_first():
        try:
            box = [make()]
        except IIMedGPTError as error:
            box = [error]
    dist.broadcast_object_list(box, src=0, group=_talk())
    if isinstance(box[0], IIMedGPTError):
        raise box[0]
    made: Value = box[0]
    return made


def largest(number: int) -> int:
    """The largest of the numbers that the processes hold."""
    if not dist.is_initialized():
        return number
    box = torch.tensor(number)
    dist.all_reduce(box, op=dist.ReduceOp.MAX, group=_talk())
    return int(box)


def summed(metrics: Mapping[str, float]) -> dict[str, float]:
    """Each metric summed over the processes, which have to hold the same ones in the same order."""
    if not metrics or not dist.is_initialized():
        return dict(metrics)
    box = torch.tensor(list(metrics.values()), dtype=torch.float64)
    dist.all_reduce(box, group=_talk())
    return dict(zip(metrics, box.tolist(), strict=True))


def spread(work: Callable[[Sequence[Item]], Sequence[Value]], items: Sequence[Item]) -> list[Value]:
    """One result an item, in order, in every process; each works on every n-th item, the ones that it trains on."""
    n_processes = join().count
    if n_processes == 1:
        return list(work(items))
    parts: list[Any] = [None] * n_processes
    dist.all_gather_object(parts, work(items[join().rank :: n_processes]), group=_talk())
    return [parts[i % n_processes][i // n_processes] for i in range(len(items))]


def is_first_failure() -> bool:
    """True in the process that fails before the others: it alone tells, the others fail because of it."""
    if not dist.is_initialized():
        return True
    try:
        return bool(dist.distributed_c10d._get_default_store().add("iimedgpt/failures", 1) == 1)
    except RuntimeError:  # the process that kept the store is gone
        return False


def whole(tensor: Tensor) -> Tensor:
    """A tensor that may be sharded, in full, on the CPU. All processes have to ask."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().cpu().contiguous()


def like(full: Tensor, parameter: Tensor) -> Tensor:
    """A full tensor as a parameter of its shape is kept here: on its device, and sharded where it is."""
    full = full.to(parameter.device)
    if not isinstance(parameter, DTensor):
        return full
    return distribute_tensor(full, parameter.device_mesh, parameter.placements, src_data_rank=None)


def whole_state(optimizer: Any) -> dict[str, Any]:
    """The state of an optimiser as one process alone would save it. All processes have to ask."""
    state = optimizer.state_dict()
    parts = {
        index: {key: whole(value) if isinstance(value, Tensor) else value for key, value in part.items()}
        for index, part in state["state"].items()
    }
    return {**state, "state": parts}


def load_whole_state(optimizer: Any, state: dict[str, Any]) -> None:
    """Give an optimiser the state that ``whole_state`` took, sharded as its parameters are."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    indices = [index for group in state["param_groups"] for index in group["params"]]
    parts = {}
    for index, parameter in zip(indices, parameters, strict=True):
        part = state["state"].get(index, {})
        parts[index] = {
            key: like(value, parameter) if isinstance(value, Tensor) and value.shape == parameter.shape else value
            for key, value in part.items()
        }
    optimizer.load_state_dict({**state, "state": parts})


def keep_arithmetic(plugin: Any) -> None:
    """FSDP shards; it does not choose types.

    Under mixed precision the library would make it cast parameters, residuals and the log-probabilities
    themselves to bfloat16, and the margin before step 1 would no longer be that of the reference.

    Raises:
        TrainingError: FSDP of the first version.
    """
    if plugin is None:
        return
    if plugin.fsdp_version != 2:
        hint = "fsdp_version: 2 in the accelerate configuration"
        raise TrainingError("FSDP of version 1 is not supported", hint=hint)
    from torch.distributed.fsdp import MixedPrecisionPolicy

    plugin.mixed_precision_policy = MixedPrecisionPolicy()
