"""An aiohttp service that runners report to: it takes their runs, log lines and costs, and tells what came of them.

From the project's folder, ``python -m examples.aiohttp_worker``; it listens on http://127.0.0.1:8080. AGENTDB_URL
names the database; without it a SQLite file is made in ./data.
"""
