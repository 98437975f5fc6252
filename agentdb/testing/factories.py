"""Rows for tests, made through the repositories: only what a test says about a row is spelled in the test.

Each takes a Database, or a unit, in which the row is then part of that transaction.
"""

from __future__ import annotations

from itertools import count
from typing import Any, Final

from agentdb.aggregates import Aggregates
from agentdb.conversation.models import Conversation, MessageRole
from agentdb.hub.models.machines import Host, RunSession
from agentdb.supervisor.models import User

# Names are unique in the process, so that rows never collide, in whatever databases they are.
_numbers: Final = count(1)


async def make_user(within: Aggregates, **details: Any) -> User:
    """Make a user; of a name nobody has, unless ``username`` is given."""
    return await within.supervisor.users.create(**{"username": f"user-{next(_numbers)}", **details})


async def make_host(within: Aggregates, **details: Any) -> Host:
    """Make a host, registered under a name and a machine id nobody has, unless they are given."""
    name = f"host-{next(_numbers)}"
    return await within.hub.hosts.register(**{"name": name, "machine_id": f"machine of {name}", **details})


async def make_run_session(within: Aggregates, **details: Any) -> RunSession:
    """Make the first session of a run; of a new user on a new host, unless ``user_id`` and ``host_id`` are given."""
    if "user_id" not in details:
        details["user_id"] = (await make_user(within)).id
    if "host_id" not in details:
        details["host_id"] = (await make_host(within)).id
    return await within.hub.runs.start(**{"model_name": "test-model", **details})


async def make_conversation(within: Aggregates, *, messages: int = 0, **details: Any) -> Conversation:
    """Make a conversation; of a new user, unless ``user_id`` is given.

    Args: messages: how many it begins with, of the user and the assistant in turn: ``message 1``, ``message 2``, ...
    """
    if "user_id" not in details:
        details["user_id"] = (await make_user(within)).id
    conversation = await within.conversation.conversations.create(**details)
    if not messages:
        return conversation
    turns = (MessageRole.user, MessageRole.assistant)
    said = [{"role": turns[turn % 2], "content": f"message {turn + 1}"} for turn in range(messages)]
    await within.conversation.messages.append_many(conversation.id, said)
    return await within.conversation.conversations.get(conversation.id)
