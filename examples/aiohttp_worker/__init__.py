"""An aiohttp worker: it runs what the FastAPI service was asked to execute, and looks after what grows old meanwhile.

Runners report to it too: it takes their runs, log lines and costs, and tells what came of them. From the project's
folder, ``make serve``; or ``python -m examples.aiohttp_worker``, which listens on http://127.0.0.1:8080. AGENTDB_URL
names the database; without it a SQLite file is made in ./data.
"""
