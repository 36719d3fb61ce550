"""The same pure functions as maps of Ray Data: over the machines of a cluster, or over one for a trial.

Chunks of rows go out in windows; within a window Ray places them, and does again what a lost machine
had not given back. Results come back in the order of the rows. A cluster of our own listens on
loopback only, keeps what it must put on disk in the run's private folder, and is gone afterwards.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from iimedgpt import io
from iimedgpt.errors import IIMedGPTError, MissingExtraError

Item = TypeVar("Item")
Result = TypeVar("Result")

CHUNK = 128  # rows that travel together
WINDOW = 128  # chunks in the hands of the cluster: 16,384 rows, some hundred megabytes
STORE_BYTES = 400 * 2**20  # object store of a cluster of our own
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# what keeps Ray on one machine under Windows and macOS: every server listens on 127.0.0.1 only
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


def map_on_cluster(
    make: Callable[..., Callable[[Item], Result]],
    arguments: tuple[Any, ...],
    items: Iterable[Item],
    n_workers: int,
    address: str | None,
    folder: Path,
) -> Iterator[Result]:
    """``make(*arguments)`` is called once in each process of the cluster; its results come in the items' order.

    Args:
        address: of a running cluster; None starts one on this machine with ``n_workers`` cores.
        folder: private; holds what a cluster of our own has to put on disk, for as long as it runs.

    Raises:
        IIMedGPTError: the cluster is not there, is lost, or the work failed; never with text of a row.
        MissingExtraError: without Ray.
    """
    ray = _import(address)
    work = pickle.dumps((make, arguments))
    source = iter(items)
    with _connected(ray, n_workers, address, folder):
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        while window := list(islice(iter(lambda: list(islice(source, CHUNK)), []), WINDOW)):
            yield from _run_window(ray, work, window)


def _run_window(ray: ModuleType, work: bytes, window: list[list[Any]]) -> Iterator[Any]:
    rows = [{"place": place, "chunk": pickle.dumps(chunk)} for place, chunk in enumerate(window)]
    blocks = ray.data.from_items(rows, override_num_blocks=len(rows))
    done = iter(blocks.map(_apply, fn_kwargs={"work": work}).iter_rows())
    expected = 0
    while True:
        try:
            row = next(done, None)
        except Exception as error:  # Ray's own: it may quote what it was given
            raise _lost(type(error).__name__) from None
        if row is None:
            break
        if row["failure"]:
            raise IIMedGPTError(row["failure"], hint="records.engine = 'local' with --debug shows where")
        if row["place"] != expected:
            raise _lost("results out of order")
        expected += 1
        yield from pickle.loads(row["results"])
    if expected != len(window):
        raise _lost("results are missing")


def _lost(what: str) -> IIMedGPTError:
    return IIMedGPTError(f"the Ray cluster failed: {what}", hint="nothing was written; see that its nodes are up")


def _apply(row: dict[str, Any], work: bytes) -> dict[str, Any]:
    """One chunk to its results, on whichever machine. A failure comes back as a value: Ray would log its text."""
    place, results, failure = row["place"], b"", ""
    try:
        apply = _applied(work)
        results = pickle.dumps([apply(item) for item in pickle.loads(row["chunk"])])
    except IIMedGPTError as error:
        failure = str(error)
    except Exception as error:
        failure = f"{type(error).__name__} in a Ray worker"
    return {"place": place, "results": results, "failure": failure}


@lru_cache(1)
def _applied(work: bytes) -> Callable[[Any], Any]:
    """Made once in each process."""
    make, arguments = pickle.loads(work)
    applied: Callable[[Any], Any] = make(*arguments)
    return applied


def _import(address: str | None) -> ModuleType:
    for name, value in (_QUIET if address else _QUIET | _LOOPBACK).items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError:
        raise MissingExtraError("ray", "records.engine = 'ray'") from None
    module: ModuleType = ray
    return module


@contextmanager
def _connected(ray: ModuleType, n_workers: int, address: str | None, folder: Path) -> Iterator[None]:
    """A connection that is closed afterwards; one that the caller made is used and left."""
    if ray.is_initialized():
        yield
        return
    spill = io.make_private_dir(folder / ".ray")
    # Ray's sockets need a short path; mkdtemp makes the folder 0700
    temporary = Path(tempfile.mkdtemp(prefix="iimedgpt-"))
    quiet = {"log_to_driver": False, "configure_logging": True, "logging_level": "ERROR"}
    own = {
        "address": "local",
        "num_cpus": n_workers,
        "include_dashboard": False,
        "object_store_memory": STORE_BYTES,
        "_node_ip_address": "127.0.0.1",
        "_temp_dir": str(temporary),
        "_system_config": {
            "object_spilling_config": json.dumps(
                {"type": "filesystem", "params": {"directory_path": str(spill.resolve())}}
            )
        },
    }
    try:
        try:
            ray.init(**quiet, **({"address": address} if address else own))
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            where = f"at {address}" if address else "on this machine"
            raise IIMedGPTError(
                f"no Ray cluster {where}: {type(error).__name__}", hint="`ray status` on its head node tells more"
            ) from None
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(spill, ignore_errors=True)
        shutil.rmtree(temporary, ignore_errors=True)
