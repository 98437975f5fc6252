"""Serve on a port of this machine: ``python -m examples.fastapi_service [port]``."""

import sys

import uvicorn

from examples.fastapi_service.app import make_app

uvicorn.run(make_app(), host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
