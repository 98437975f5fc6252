"""LangGraph: the messages of a thread, in the checkpoints of its savers."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any, Final

from langchain_core.messages import HumanMessage
from langgraph.checkpoint.base import create_checkpoint, empty_checkpoint
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from benchmarks.peers.child import Address
from benchmarks.peers.turns import LATEST, PRAGMAS, SAID, turns

_THREAD: Final = {"configurable": {"thread_id": "conversation", "checkpoint_ns": ""}}


class LangGraph:
    """What a step of a graph does: it loads the last checkpoint, and stores one with a message more."""

    def __init__(self, stack: AsyncExitStack, saver: Any) -> None:
        self._stack = stack
        self._saver = saver

    async def close(self) -> None:
        await self._stack.aclose()

    async def fill(self, messages: int) -> None:
        await self._put(empty_checkpoint(), [HumanMessage(SAID, id=str(n)) for n in range(messages)], _THREAD, 0)

    async def _put(self, last: Any, messages: list[HumanMessage], config: Any, step: int) -> None:
        checkpoint = create_checkpoint(last, None, step)
        version = self._saver.get_next_version(last["channel_versions"].get("messages"), None)
        checkpoint["channel_values"] = {"messages": messages}
        checkpoint["channel_versions"] = {"messages": version}
        metadata = {"source": "loop", "step": step, "parents": {}}
        await self._saver.aput(config, checkpoint, metadata, {"messages": version})

    async def turn(self) -> int:
        last = await self._saver.aget_tuple(_THREAD)
        messages = last.checkpoint["channel_values"]["messages"]
        grown = [*messages, HumanMessage(SAID, id=str(len(messages)))]
        await self._put(last.checkpoint, grown, last.config, last.metadata["step"] + 1)
        return len(grown[-LATEST:])

    async def turns(self, seconds: float) -> float:
        return await turns(self, seconds)


async def open_on(address: Address) -> LangGraph:
    stack = AsyncExitStack()
    if address.path is not None:
        saver: Any = await stack.enter_async_context(AsyncSqliteSaver.from_conn_string(address.path))
        for pragma in PRAGMAS:
            await saver.conn.execute(pragma)
    else:
        saver = await stack.enter_async_context(AsyncPostgresSaver.from_conn_string(address.dsn))
    await saver.setup()
    return LangGraph(stack, saver)
