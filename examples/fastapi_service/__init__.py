"""A FastAPI service: users, their conversations, and what those cost.

From the project's folder, ``python -m examples.fastapi_service``, then http://127.0.0.1:8000/docs. AGENTDB_URL names
the database; without it a SQLite file is made in ./data.
"""
