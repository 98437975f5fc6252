"""``agentdb studio``: a thin command over `agentdb.studio`."""

from __future__ import annotations

from typing import Annotated

import typer

from agentdb.cli.application import Exit, app, complain, examples, run, say, settings_of


@app.command(epilog=examples("agentdb studio", "agentdb studio --write --port 8001"))
def studio(
    context: typer.Context,
    write: Annotated[bool, typer.Option("--write", help="Let rows be edited, through their repositories.")] = False,
    host: Annotated[
        str, typer.Option(help="Where to listen; other than this machine's own address, others may ask.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0: any that is free.")] = 8000,
) -> None:
    """Serve a page that shows every table, and what was spent, until it is interrupted; it only reads.

    The address it prints carries a token, made anew at each start: who has it comes in.
    """
    settings = settings_of(context)
    try:
        from agentdb.studio.serving import is_loopback, serve
    except ImportError as error:
        complain(f"error: {error.name} is not installed: pip install 'agentdb[studio]'")
        raise typer.Exit(Exit.FAILED) from None
    if not is_loopback(host):
        complain(f"{host} is reached from other machines, and what is sent is not encrypted: use a tunnel instead")
    run(serve(settings, host=host, port=port, writes=write, on_ready=say))
