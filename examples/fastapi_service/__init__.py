"""A FastAPI service, a small agent platform: people, conversations, runs, spending, work to be done, knowledge.

From the project's folder, ``make serve``, then http://127.0.0.1:8000/docs; or ``python -m examples.fastapi_service``.
AGENTDB_URL names the database; without it a SQLite file is made in ./data.
"""
