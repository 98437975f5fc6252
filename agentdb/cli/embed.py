"""``agentdb embed``: runs the queue of documents with whatever function embeds texts."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from agentdb.cli.application import Exit, app, examples, failed, run, say, settings_of, write_json
from agentdb.config import Settings
from agentdb.database import Database
from agentdb.errors import AgentDBError, BadInput
from agentdb.knowledge.embedding import TEXTS_PER_CALL, Embedded, Embedder
from agentdb.knowledge.processing import LEASE_SECONDS, MOST_ATTEMPTS
from agentdb.knowledge.splitting import split

_COUNTS: Final = {
    "completed": "{} documents embedded",
    "chunks": "{} chunks in all",
    "again": "{} attempts failed, to be made again",
    "failed": "{} documents failed for good; see knowledge_base.error",
    "lost": "{} documents were revised, deleted or taken over meanwhile",
}


@app.command(
    epilog=examples(
        "agentdb embed my.models:embed --model text-embedding-3-small",
        "agentdb embed my.models:embed --model text-embedding-3-small --again --most 1000",
    )
)
def embed(
    context: typer.Context,
    function: Annotated[
        str,
        typer.Argument(help="module:function; async def function(texts: list[str]) -> a vector for each, in order."),
    ],
    model: Annotated[str, typer.Option(help="What it embeds with; kept with every row.")],
    version: Annotated[str | None, typer.Option(help="The model's version; kept with every row.")] = None,
    splitter: Annotated[
        str | None, typer.Option(help="module:function; def function(text: str) -> list[str], in place of our own.")
    ] = None,
    at_once: Annotated[int, typer.Option(min=1, help="Documents at a time.")] = 4,
    texts: Annotated[int, typer.Option(min=1, help="Texts the function is given at once.")] = TEXTS_PER_CALL,
    lease: Annotated[float, typer.Option(help="Seconds of silence before others take over.")] = LEASE_SECONDS,
    attempts: Annotated[int, typer.Option(min=1, help="How often a document is tried.")] = MOST_ATTEMPTS,
    most: Annotated[int | None, typer.Option(min=1, help="How many documents; by default all that wait.")] = None,
    again: Annotated[
        bool, typer.Option("--again", help="First let those wait again that another model or version has embedded.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write a document for programs.")] = False,
) -> None:
    """Cut up and embed the documents that wait, until none does; any number of these may run at once.

    Exit codes: 0, nothing failed; 1, some documents failed, or will be tried again; 2, not done.
    """
    try:
        embedder = Embedder(
            named(function),
            model,
            version,
            split if splitter is None else named(splitter),
            texts_per_call=texts,
            lease_seconds=lease,
            most_attempts=attempts,
        )
    except AgentDBError as error:
        raise failed(error) from None
    done = run(_embedded(settings_of(context), embedder, at_once=at_once, most=most, again=again))
    if json:
        write_json(done)
    else:
        for name, told in _COUNTS.items():
            if (many := getattr(done, name)) or name == "completed":
                say(told.format(many))
    if done.failed or done.again:
        raise typer.Exit(Exit.LOOK)


def named(path: str) -> Callable[..., Any]:
    """Return the function that is called ``module:function``; modules of the working folder are found too.

    Raises: BadInput when there is none.
    """
    module, _, name = path.partition(":")
    if not module or not name:
        raise BadInput(f"{path!r} is not a function's place; write module:function")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise BadInput(f"there is no {path}: {error}") from None
    if not callable(found):
        raise BadInput(f"{path} is not a function")
    function: Callable[..., Any] = found
    return function


async def _embedded(settings: Settings, embedder: Embedder, *, at_once: int, most: int | None, again: bool) -> Embedded:
    async with Database(settings) as database:
        documents = database.knowledge.documents
        if again:
            await documents.embed_again(model=embedder.model, version=embedder.version)
        return await embedder.run(documents, at_once=at_once, most=most)
