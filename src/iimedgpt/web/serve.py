"""The verb ``rank``: hand out keys, export votes, or serve the pages."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from iimedgpt.config import RunConfig
from iimedgpt.errors import ConfigError, IIMedGPTError
from iimedgpt.io import Secret
from iimedgpt.preferences.store import FOLDER, Store
from iimedgpt.web import export
from iimedgpt.web.access import key_hash, new_key
from iimedgpt.web.app import create_app
from iimedgpt.web.items import comparison_items, ranking_items

log = logging.getLogger(__name__)

N_MOST_REQUESTS = 200  # at once; more are told to come back


def add_annotator(config: RunConfig, name: str) -> str:
    """Register a clinician; returns the key, which is stored nowhere.

    Raises:
        DataError: the name is taken.
        ConfigError: an empty name, or one too long.
    """
    if not 0 < len(name.strip()) <= 80 or not name.isprintable():
        raise ConfigError("an annotator's name has 1 to 80 printable characters")
    key = new_key()
    store = Store.of_run(config)
    store.add_annotator(name.strip(), key_hash(key))
    store.close()
    return key


def remove_key(config: RunConfig, name: str) -> None:
    """Lock a clinician out; the votes stay.

    Raises:
        DataError: nobody has this name.
    """
    store = Store.of_run(config)
    store.remove_key(name.strip())
    store.close()


def write_export(config: RunConfig) -> dict[str, int]:
    """Votes as files in the run's ``rank`` folder; returns rows by file."""
    store = Store.of_run(config)
    written = export.write(store, ranking_items(config), config.run_dir / FOLDER)
    store.close()
    return written


def serve(
    config: RunConfig,
    host: str,
    port: int,
    certificate: Path | None,
    private_key: Path | None,
    when_ready: Callable[[], None],
) -> None:
    """Serve until interrupted; ``when_ready`` is called when the address listens.

    Raises:
        IIMedGPTError: nobody has a key, there is nothing to show, or the port is taken.
    """
    if not is_loopback(host) and certificate is None:
        log.warning("%s: others can reach this address, and without TLS keys travel readable", host)
        log.warning("give --tls-cert and --tls-key, or put a proxy that speaks TLS before it")
    store = Store.of_run(config)
    if not any(annotator.is_active for annotator in store.annotators()):
        raise IIMedGPTError(
            "nobody has a key yet: the page does not start", hint="iimedgpt rank RUN.toml --add-annotator NAME"
        )
    ranking, comparison = ranking_items(config), comparison_items(config)
    if not ranking and not comparison:
        raise IIMedGPTError("there is nothing to rank", hint="raise sample.n_samples, or set rank.use_reference")
    app = create_app(
        store,
        Secret.load(config.run_dir / FOLDER / "session-secret"),
        ranking,
        comparison,
        annotators_per_item=config.rank.annotators_per_item,
        seed=config.seed,
        session_hours=config.rank.session_hours,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # its tracebacks may quote a record
    settings = uvicorn.Config(
        app,
        access_log=False,  # paths hold ids
        log_config=None,
        server_header=False,
        limit_concurrency=N_MOST_REQUESTS,
        timeout_graceful_shutdown=10,
        ssl_certfile=certificate,
        ssl_keyfile=private_key,
    )
    listening = _listen(host, port)
    when_ready()
    uvicorn.Server(settings).run([listening])
    store.close()


def is_loopback(host: str) -> bool:
    """True where only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise IIMedGPTError(
            f"cannot listen on {host}:{port} ({error.strerror})", hint="another --port, or --host"
        ) from None
