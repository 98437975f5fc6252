"""`python -m agentdb` is the `agentdb` command."""

from agentdb.cli import app

app()
