"""A PostgreSQL server of the tests' own, on a free port of loopback, in a temporary folder, with a password."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

PASSWORD = "geheim"
RESTART_S = 30


def _as_server_user() -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("PostgreSQL does not run as root, and there is no user 'postgres'")
    if not shutil.which("runuser"):
        pytest.skip("PostgreSQL does not run as root, and there is no runuser")
    return ["runuser", "-u", "postgres", "--"]


def _bin_dir() -> Path:
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    programs += [Path(found)] if (found := shutil.which("initdb")) else []
    if not programs:
        pytest.skip("no PostgreSQL server on this machine (Debian package: postgresql)")
    return programs[-1].parent


@dataclass
class PostgresServer:
    """Made with ``create``; skips the test where the machine has no server."""

    folder: Path
    port: int
    settings: str
    _user: list[str]
    _bin: Path

    @classmethod
    def create(cls, settings: str = "-c fsync=off") -> PostgresServer:
        pytest.importorskip("psycopg")
        bin_dir, user = _bin_dir(), _as_server_user()
        folder = Path(subprocess.check_output([*user, "mktemp", "-d", "/tmp/iimedgpt-pg.XXXXXX"], text=True).strip())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        password = folder / "password"
        subprocess.run([*user, "sh", "-c", f"umask 077; echo {PASSWORD} > {password}"], check=True)
        subprocess.run(
            [*user, str(bin_dir / "initdb"), "-D", str(folder / "data"), "-U", "reader", "-A", "scram-sha-256",
             f"--pwfile={password}", "-E", "UTF8", "--locale=C.UTF-8", "-N"],
            check=True, capture_output=True, cwd="/",
        )  # fmt: skip
        return cls(folder, port, settings, user, bin_dir)

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://reader:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int:
        """The process that all others of the server come from."""
        return int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])

    def start(self) -> None:
        """Start and wait until it answers. Of a killed one the memory may be taken for a moment."""
        place = f"-c listen_addresses=127.0.0.1 -p {self.port} -c unix_socket_directories={self.folder}"
        command = self._control("-o", f"{place} {self.settings}", "-l", str(self.folder / "log"), "start")
        end = time.monotonic() + RESTART_S
        while subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/").returncode:
            if time.monotonic() > end:
                raise TimeoutError("the server does not start")
            time.sleep(0.2)

    def kill(self) -> None:
        """``kill -9`` of the server and of each process it made: nothing of it can write any more."""
        first = self.pid
        os.kill(first, signal.SIGSTOP)  # so that it makes no new ones meanwhile
        for pid in [*_children(first), first]:
            os.kill(pid, signal.SIGKILL)

    def remove(self) -> None:
        """Stop it, where it runs, and remove its folder."""
        subprocess.run(self._control("-m", "immediate", "stop"), check=False, capture_output=True, cwd="/")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _control(self, *words: str) -> list[str]:
        return [*self._user, str(self._bin / "pg_ctl"), "-D", str(self.folder / "data"), "-s", "-w", *words]


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]
