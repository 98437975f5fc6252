"""Who comes in: whoever has the token that was made at the start, from a page of this server's own name."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})

_HEADERS: Final = {
    # The framework's pages have scripts of their own within; nothing comes from, or goes to, anywhere else.
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; font-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Door:
    """Lets through who shows the token, once in the address and from then on in a cookie.

    Args:
        inside: what is behind it.
        token: what the address has to carry.
        port: a cookie is sent to every port of a host: it is told apart by its name.
        hosts: the names this server may be called by; None: any. A page elsewhere whose name leads here is refused.
    """

    def __init__(self, inside: ASGIApp, *, token: str, port: int, hosts: Iterable[str] | None = LOOPBACK) -> None:
        self._inside = inside
        self._token = token.encode()
        self._cookie = f"agentdb_studio_{port}"
        self._session = secrets.token_urlsafe(32)  # not the token: an address is kept where a cookie is not
        self._hosts = None if hosts is None else frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let through."""
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is None:
            await self._inside(scope, receive, _guarded(send, keep=scope["path"].startswith("/static/")))
        else:
            await refusal(scope, receive, _guarded(send, keep=False))

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if self._hosts is not None and _name(headers.get("host", "")) not in self._hosts:
            return PlainTextResponse("this server is not called by that name", 421)
        asked = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        tokens = [value for name, value in asked if name == "token"]
        if tokens:
            rest = urlencode([pair for pair in asked if pair[0] != "token"])
            return self._enter(scope["path"], rest, tokens[-1])
        if not hmac.compare_digest(self._shown(headers).encode(), self._session.encode()):
            return PlainTextResponse("open the address that agentdb studio printed when it started", 403)
        return None

    def _enter(self, path: str, query: str, token: str) -> Response:
        if not hmac.compare_digest(token.encode(errors="replace"), self._token):
            return PlainTextResponse("this is not the token of this studio; it has another one at each start", 403)
        # The token leaves the address: neither history nor a shared screen shows it further. Two slashes in front
        # would lead elsewhere.
        response = RedirectResponse("/" + quote(path.lstrip("/\\")) + f"?{query}" * bool(query), 303)
        response.set_cookie(self._cookie, self._session, httponly=True, samesite="strict", path="/")
        return response

    def _shown(self, headers: Headers) -> str:
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return ""
        return "" if cookie is None else cookie.value


def _name(host: str) -> str:
    """Return a Host header without its port."""
    if host.startswith("["):
        return host.partition("]")[0].lower() + "]"
    return host.partition(":")[0].lower()


def _guarded(send: Send, *, keep: bool) -> Send:
    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            if not keep:
                headers["Cache-Control"] = "no-store"
        await send(message)

    return guarded
