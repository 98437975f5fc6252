"""Serving the studio until it is interrupted."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Callable

import uvicorn

from agentdb.config import Settings
from agentdb.database import Database
from agentdb.errors import BadSettings
from agentdb.studio.application import application
from agentdb.studio.door import LOOPBACK, Door

OnReady = Callable[[str], None]


async def serve(
    settings: Settings, *, host: str = "127.0.0.1", port: int = 0, writes: bool = False, on_ready: OnReady
) -> None:
    """Serve the studio of a database until a signal ends it. The schema is checked, and not migrated.

    Args:
        settings: which database.
        host: where to listen; by default only this machine reaches it.
        port: 0: any that is free.
        writes: whether rows may be edited.
        on_ready: told the address to open, with its token, once it is answered.

    Raises: BadSettings when the address is taken or is not one of this machine; what opening the database raises.
    """
    listening = _listening(host, port)
    bound: int = listening.getsockname()[1]
    token = secrets.token_urlsafe(32)
    async with Database(settings.model_copy(update={"migrate": "never", "seed": "never"})) as db:
        door = Door(application(db, writes=writes), token=token, port=bound, hosts=names_of(host))
        config = uvicorn.Config(door, log_config=None, access_log=False, lifespan="off", server_header=False)
        on_ready(f"http://{_spelled(host)}:{bound}/?token={token}")
        await uvicorn.Server(config).serve(sockets=[listening])


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def names_of(host: str) -> frozenset[str] | None:
    """Return what a server that listens on an address may be called: itself, and any loopback; None: anything."""
    return LOOPBACK | {_spelled(host).lower()} if is_loopback(host) else None


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise BadSettings(f"cannot listen on {host}, port {port}: {error.strerror or error}; choose another") from None


def _spelled(host: str) -> str:
    return f"[{host}]" if ":" in host else host
