"""Started by ``test_scale``: records and instructions on a Ray cluster of two workers, one of them killed midway."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback
}

import psutil
import ray
from ray.cluster_utils import Cluster

from iimedgpt import cluster as ours
from iimedgpt.config import RecordsConfig, RecordSource, RunConfig
from iimedgpt.instructions import build as instructions
from iimedgpt.records import build as records
from iimedgpt.run import Stage, execute

STORE_BYTES = 100 * 2**20


def main(folder: str, short: str, n: int) -> None:
    """Print what was written and where the cluster listened."""
    os.environ["RAY_TMPDIR"] = short
    Path(short, "ray").mkdir()
    nodes = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0,
            "object_store_memory": STORE_BYTES,
            "include_dashboard": False,
            "node_ip_address": "127.0.0.1",
        },
    )
    workers = [nodes.add_node(num_cpus=1, object_store_memory=STORE_BYTES) for _ in range(2)]
    ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
    ours.CHUNK = 32  # type: ignore[misc]
    run_window: Callable[..., Any] = ours._run_window
    killed = []

    def lose_one(*arguments: Any) -> Any:
        for count, result in enumerate(run_window(*arguments)):
            if count == 40 and not killed:
                killed.append(1)
                nodes.remove_node(workers[1], allow_graceful=False)
            yield result

    ours._run_window = lose_one
    run_config = RunConfig(
        name="t",
        runs_dir=f"{folder}/runs",
        workers=2,
        records=RecordsConfig(sources=(RecordSource(reader="synthetic", n_max=n),), engine="ray"),
    )
    stages = (
        Stage("records", ("records",), (), records.run, records.inputs),
        Stage("instructions", ("instructions",), ("records",), instructions.run, instructions.inputs),
    )
    print(f"outputs={[execute(stage, run_config, is_forced=True)[0].outputs for stage in stages]!r}")
    print(f"killed={len(killed)}")
    print(f"listening={','.join(sorted(listening(Path(short))))}")
    ray.shutdown()
    nodes.shutdown()


def listening(session: Path) -> set[str]:
    """Addresses on which processes of the cluster accept connections."""
    found: set[str] = set()
    for process in psutil.process_iter():
        try:
            if str(session) in " ".join(process.cmdline()) and "on_cluster" not in " ".join(process.cmdline()):
                found |= {c.laddr.ip for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
