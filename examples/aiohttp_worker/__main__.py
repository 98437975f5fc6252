"""Serve on a port of this machine: ``python -m examples.aiohttp_worker [port]``."""

import sys

from aiohttp import web

from examples.aiohttp_worker.app import make_app

web.run_app(make_app(), host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 8080)
