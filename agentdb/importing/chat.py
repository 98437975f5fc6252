"""Chat: runs of agents in the OpenAI chat form, as users, runs, conversations, logs and costs."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import msgspec

from agentdb.catalog.prices import cost_of, is_priced
from agentdb.conversation.models import Message
from agentdb.database import Database
from agentdb.errors import BadInput, Conflict, MissingReference, NotFound
from agentdb.hub.models.machines import LogRole, LogSource, LogType, RunSession
from agentdb.hub.models.spending import CostSource
from agentdb.importing.chat_form import ChatMessage, ChatRun, model_calls, names_of_answers, parse
from agentdb.importing.lines import LONGEST_BYTES, Line, lines_of
from agentdb.unit import Unit

AGENT: Final = "imported"
_LONGEST_TITLE: Final = 80
_NOTHING: Final = Decimal("0.000000000")
_MACHINE: Final = uuid.UUID("d2f1a9de-5b0c-5c8e-8a54-2f0a6f6d7c11")

_LOGGED: Final[dict[str, tuple[LogRole, LogSource, LogType | None]]] = {
    "system": (LogRole.platform, LogSource.start_prompt, LogType.system),
    "developer": (LogRole.platform, LogSource.start_prompt, LogType.system),
    "user": (LogRole.platform, LogSource.console, None),
    "assistant": (LogRole.llm, LogSource.llm, None),
    "tool": (LogRole.platform, LogSource.console, LogType.tool),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that did not go in, and why."""

    line: int
    reason: str


@dataclass(slots=True)
class ChatReport:
    """What an import of runs did so far."""

    runs: int = 0
    present: int = 0  # were there already
    messages: int = 0
    calls: int = 0  # of models, each a row of the ledger
    unpriced: int = 0  # of these, those whose model has no known price: they are there at 0
    cost: Decimal = _NOTHING
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Charged:
    calls: int
    unpriced: int
    cost: Decimal


async def import_chat(
    database: Database,
    path: Path,
    *,
    agent: str = AGENT,
    progress: Callable[[int], None] | None = None,
) -> ChatReport:
    """Import the runs of a JSON Lines file, compressed or not, and tell what was done.

    A line is a run: ``id``, ``user``, ``model``, ``messages`` in the OpenAI chat form and, if known, ``reward``. Each
    goes in whole or not at all, in one transaction; one that is there already stays as it is. A user is made for each
    name that is new. Of a model's calls, what no ``usage`` tells is estimated, and the message says so.

    Args:
        database: an open one.
        path: of the file; it is read as it goes, never held whole.
        agent: the name of the agent that had these conversations; made when there is none.
        progress: is told how many bytes of the file were read, after each line.

    Raises: BadInput when the file cannot be read; whatever says that the database cannot go on.
    """
    importer = _Importer(database, agent)
    report = ChatReport()
    async for line in _in_thread(lines_of(path)):
        try:
            await importer.take(line, report)
        except (BadInput, Conflict, MissingReference, NotFound) as error:
            report.problems.append(Problem(line.number, str(error)))
        if progress is not None:
            progress(line.position)
    return report


async def _in_thread(lines: Iterator[Line]) -> AsyncIterator[Line]:
    """Yield lines without keeping the loop waiting for the disk."""
    while (line := await asyncio.to_thread(next, lines, None)) is not None:
        yield line


class _Importer:
    def __init__(self, database: Database, agent: str) -> None:
        self._database = database
        self._agent = agent
        self._host_id: int | None = None

    async def take(self, line: Line, report: ChatReport) -> None:
        """Import one line, and count it.

        Raises: BadInput with what is wrong with it.
        """
        if line.content is None:
            raise BadInput(f"longer than {LONGEST_BYTES // 2**20} MiB")
        run = parse(line.content)
        charged = None
        # Deleted ones count: what somebody deleted does not come back.
        if not await self._database.conversation.conversations.exists(key=_key(run)):
            host_id = await self._host()
            charged = await self._database.run(lambda unit: _store(unit, run, self._agent, host_id))
        if charged is None:
            report.present += 1
            return
        report.runs += 1
        report.messages += len(run.messages)
        report.calls += charged.calls
        report.unpriced += charged.unpriced
        report.cost += charged.cost

    async def _host(self) -> int:
        """Return this machine's host: registered once, and not at all when there is nothing to import."""
        if self._host_id is None:
            host = await self._database.hub.hosts.register(name=_host_name(), machine_id=_machine_id())
            self._host_id = host.id
        return self._host_id


async def _store(unit: Unit, run: ChatRun, agent_name: str, host_id: int) -> _Charged | None:
    """Store a run, unless it is there already."""
    name = username(run.user)
    details: dict[str, Any] = {} if name == run.user else {"settings": {"imported_as": run.user}}
    user, _ = await unit.supervisor.users.get_or_create(name, **details)
    agent, _ = await unit.catalog.agents.get_or_create(agent_name)
    conversation, created = await unit.conversation.conversations.get_or_create(
        _key(run),
        user_id=user.id,
        agent_id=agent.id,
        title=_title(run),
        metadata={
            "imported": {"id": run.id, "model": run.model} | ({} if run.reward is None else {"reward": run.reward})
        },
    )
    if not created:
        return None
    session = await unit.hub.runs.start(user_id=user.id, model_name=run.model, host_id=host_id)
    messages = await unit.conversation.messages.append_many(conversation.id, _rows(run))
    await unit.hub.logs.append(session, [_entry(message) for message in run.messages])
    return await _charge(unit, run, session, messages, agent.id)


async def _charge(unit: Unit, run: ChatRun, session: RunSession, messages: list[Message], agent_id: int) -> _Charged:
    model = await unit.catalog.models.by_key(run.model)
    priced = model is not None and is_priced(model)
    total, calls = _NOTHING, 0
    for call in model_calls(run):
        calls += 1
        tokens: dict[str, Any] = {
            "input_tokens": call.input_tokens,
            "output_tokens": call.output_tokens,
            "cache_read_tokens": call.cache_read_tokens,
        }
        charged = await unit.hub.costs.append(
            source=CostSource.chat,
            model=run.model,
            cost=cost_of(model, **tokens) if model is not None else _NOTHING,
            user_id=session.user_id,
            run_session_id=session.id,
            request_id=f"{_key(run)}:{call.place}",
            host_id=session.host_id,
            agent_id=agent_id,
            model_id=model and model.id,
            message_id=messages[call.place].id,
            **tokens,
        )
        total += charged.cost
    return _Charged(calls, 0 if priced else calls, total)


def _key(run: ChatRun) -> str:
    return f"import:{run.id}"


def _title(run: ChatRun) -> str:
    """Return the beginning of what the user said first, on one line."""
    said = next((message.text for message in run.messages if message.role == "user"), "")
    line = " ".join(said[: 4 * _LONGEST_TITLE].split())
    return line if len(line) <= _LONGEST_TITLE else f"{line[: _LONGEST_TITLE - 1]}…"


def _rows(run: ChatRun) -> Iterator[dict[str, Any]]:
    """Yield the run's messages as rows: an empty text stands for no content, and tool calls are in the metadata."""
    tools = names_of_answers(run)
    for message in run.messages:
        metadata: dict[str, Any] = {}
        if message.tool_calls:
            metadata["tool_calls"] = msgspec.to_builtins(message.tool_calls)
        if message.usage is None:
            metadata["tokens_estimated"] = True
        yield {
            "role": message.role,
            "content": message.content if message.content is not None else "",
            "name": message.name or tools.get(message.tool_call_id or ""),
            "tool_call_id": message.tool_call_id,
            "metadata": metadata,
            "tokens": message.tokens,
        }


def _entry(message: ChatMessage) -> dict[str, Any]:
    role, source, kind = _LOGGED[message.role]
    if message.tool_calls and not message.text:
        kind = LogType.tool
    return {"role": role, "source": source, "type": kind, "message": message.transcript}


def username(name: str) -> str:
    """Return the username for a name of any characters: two names never become one user."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", name)
    if plain == name and len(name) <= 64:
        return name
    mark = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{plain[:55]}-{mark}"


def _host_name() -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:64] or "host"


def _machine_id() -> str:
    """Return an id that stays this machine's: of the system's own, which is not to be shown, or of its network card."""
    try:
        own = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        own = ""
    if not own:
        node = uuid.getnode()
        by_chance = bool(node >> 40 & 1)  # another one in each process, as RFC 4122 marks it
        own = socket.gethostname() if by_chance else f"{node:012x}"
    return str(uuid.uuid5(_MACHINE, own))
