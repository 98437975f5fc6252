"""Agents' sessions: an agent at work for a user, which may be paused, recovered, and gone on with elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, TypedDict, Unpack

from agentdb.engine.asked import is_text, members, texts
from agentdb.engine.statements import insert_one
from agentdb.errors import AgentDBError, BadInput, InvalidTransition, NotFound, StaleVersion, brief
from agentdb.execution.linking import linked, started
from agentdb.execution.models import AgentSession, AgentSessionStatus
from agentdb.execution.moving import CHECKPOINT, COUNT, PATCH, PRESENT, marked, move_plan
from agentdb.execution.session_upkeep import SessionUpkeep


class How(TypedDict, total=False):
    """How a session changes its status.

    Attributes:
        checkpoint: a state to append with it.
        expected_version: only while it has this version.
        user_id: whose it is.
    """

    checkpoint: Any
    expected_version: int | None
    user_id: int | None


class AgentSessions(SessionUpkeep):
    """Agents at work for users.

    Wherever ``user_id`` is given to find one, somebody else's is NotFound. ``version`` counts changes of the status:
    whoever passes ``expected_version`` wins against everybody else who does. What is added to a session (checkpoints,
    counts, patches) is merged in the database: writers at once all keep what they added.
    """

    async def start(
        self,
        *,
        user_id: int,
        agent_id: int,
        conversation_id: int | None = None,
        context: Mapping[str, Any] | None = None,
        variables: Mapping[str, Any] | None = None,
        template_id: str | None = None,
        template_version: str | None = None,
    ) -> AgentSession:
        """Start a session, and return it, running.

        Args:
            user_id: for whom.
            agent_id: who works.
            conversation_id: in which conversation of the user; its ``session_id`` is then this one.
            context: what the agent is told at the beginning.
            variables: what it keeps in mind.
            template_id: what it was made from, if anything.
            template_version: of which version.

        Raises: NotFound for a conversation that is not the user's, or was deleted; MissingReference for an unknown user
            or agent; BadInput.
        Cost: one insert; with a conversation, one transaction of three statements.
        """
        now = self.connection.now()
        values = {
            "user_id": user_id,
            "agent_id": agent_id,
            "conversation_id": conversation_id,
            "context": members(context, "context"),
            "variables": members(variables, "variables"),
            "template_id": template_id,
            "template_version": template_version,
            "started_at": now,
            "last_active_at": now,
        }
        if conversation_id is None:
            return self._there(await self.connection.fetch_one(insert_one(AgentSession), values))
        return self._there(await self.connection.run(partial(started, values)))

    async def link(self, session_id: int, conversation_id: int, *, user_id: int | None = None) -> AgentSession:
        """Go on with a session in a conversation of the same user, and return it; both then refer to each other.

        A conversation that it was in before has no session then. Those that were in this one are still listed by
        `of_conversation`.

        Raises: NotFound for a session that is not there, or a conversation that is not its user's, or was deleted.
        Cost: one transaction of five statements.
        """
        row = await self.connection.run(partial(linked, session_id, conversation_id, user_id))
        return self._there(row)

    async def pause(self, session_id: int, **how: Unpack[How]) -> AgentSession:
        """Pause a running session, and return it.

        Args: session_id: which; how: see `How`.

        Raises: NotFound; InvalidTransition from any other status; StaleVersion; BadInput.
        Cost: one statement.
        """
        return await self._move(session_id, AgentSessionStatus.paused, **how)

    async def resume(self, session_id: int, **how: Unpack[How]) -> AgentSession:
        """Let a paused or failed session run again, and return it; otherwise as `pause`."""
        return await self._move(session_id, AgentSessionStatus.running, **how)

    async def complete(self, session_id: int, **how: Unpack[How]) -> AgentSession:
        """Complete a running or paused session for good, and return it; otherwise as `pause`."""
        return await self._move(session_id, AgentSessionStatus.completed, **how)

    async def fail(self, session_id: int, error: str, **how: Unpack[How]) -> AgentSession:
        """Let a running or paused session fail, and return it; `resume` recovers it; otherwise as `pause`.

        Args: error: what happened; it is appended to ``error_logs`` with the moment.
        """
        if not is_text(error) or not error:
            raise BadInput("an error is told by a text that is not empty")
        return await self._move(session_id, AgentSessionStatus.failed, error, **how)

    async def checkpoint(self, session_id: int, state: Any, *, user_id: int | None = None) -> int:
        """Append a checkpoint to a live session, and return its number, from 1.

        Args: state: any JSON; it is kept with the moment, as ``{"at": ..., "state": ...}``.
        Raises: NotFound; InvalidTransition when the session has ended; BadInput.
        Cost: one statement, longer the more checkpoints there are: they are one value of the row.
        """
        now = self.connection.now()
        values = {"session_id": session_id, "user_id": user_id, "now": now, "checkpoint": marked("state", state, now)}
        number = await self.connection.fetch_one(CHECKPOINT, values)
        if number is None:
            raise await self._refusal(session_id, user_id, "takes no checkpoint")
        return number

    async def patch(
        self,
        session_id: int,
        *,
        variables: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
        user_id: int | None = None,
    ) -> AgentSession:
        """Merge into the variables and the context of a live session, and return it: null takes a member away.

        Raises: NotFound; InvalidTransition when the session has ended; BadInput.
        Cost: one statement. Source: RFC 7396.
        """
        given = {"variables": members(variables, "variables"), "context": members(context, "context")}
        row: AgentSession | None = await self.connection.fetch_one(
            PATCH, {**given, "session_id": session_id, "user_id": user_id, "now": self.connection.now()}
        )
        if row is None:
            raise await self._refusal(session_id, user_id, "takes no patch")
        return row

    async def record(
        self, session_id: int, *, messages: int = 0, tools: Iterable[str] = (), user_id: int | None = None
    ) -> AgentSession:
        """Count messages and name the tools that were used in a live session, and return it.

        Args: messages: how many more; tools: their names, each of which is kept once, in order.
        Raises: NotFound; InvalidTransition when the session has ended; BadInput.
        Cost: one statement.
        """
        names = [tools] if isinstance(tools, str) else texts(tools, "tools")
        if type(messages) is not int or messages < 0:
            raise BadInput(f"messages is a whole number from 0, not {brief(messages)}")
        if not all(names):
            raise BadInput("tools are named by texts that are not empty")
        values = {"session_id": session_id, "user_id": user_id, "messages": messages, "tools": names}
        row: AgentSession | None = await self.connection.fetch_one(COUNT, {**values, "now": self.connection.now()})
        if row is None:
            raise await self._refusal(session_id, user_id, "counts nothing")
        return row

    async def touch(self, session_id: int, *, user_id: int | None = None) -> AgentSession:
        """Tell that a live session is at work, so that it does not expire, and return it; otherwise as `record`."""
        return await self.record(session_id, user_id=user_id)

    async def _move(
        self,
        session_id: int,
        to: AgentSessionStatus,
        error: str | None = None,
        /,
        *,
        checkpoint: Any = None,
        expected_version: int | None = None,
        user_id: int | None = None,
    ) -> AgentSession:
        now = self.connection.now()
        values: dict[str, Any] = {"session_id": session_id, "user_id": user_id, "to": to, "now": now}
        if checkpoint is not None:
            values["checkpoint"] = marked("state", checkpoint, now)
        if error is not None:
            values["error"] = marked("error", error, now)
        plan = move_plan(to, checkpoint=checkpoint is not None, error=error is not None)
        row: AgentSession | None = await self.connection.fetch_one(
            plan, {**values, "expected_version": expected_version}
        )
        if row is None:
            raise await self._refusal(session_id, user_id, f"cannot be {to}", expected_version)
        return row

    async def _refusal(
        self, session_id: int, user_id: int | None, what: str, expected: int | None = None
    ) -> AgentDBError:
        """Return why a statement found no row to change."""
        present = await self.connection.fetch_one(PRESENT, {"session_id": session_id, "user_id": user_id})
        if present is None:
            return NotFound(f"there is no agent session {session_id}")
        if expected is not None and present.version != expected:
            return StaleVersion(
                f"agent session {session_id} is at version {present.version}, not {expected}; read it again"
            )
        return InvalidTransition(f"agent session {session_id} is {present.status} and {what}")
