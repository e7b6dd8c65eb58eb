"""`/admin` as an ASGI application: who asks, which route, may they, what do they say; then the answer.

Must say nothing to who has no key, not even which routes there are, and must let nothing through that is not declared.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.routing import Route as HttpRoute
from starlette.types import Receive, Scope, Send

from sekisho.domain.call import Call, Language
from sekisho.domain.call import Route as CallRoute
from sekisho.domain.errors import Refusal
from sekisho.entrypoints.http import answers
from sekisho.entrypoints.http.admin.access import EVERYBODY, Asker
from sekisho.entrypoints.http.admin.asked import Asked
from sekisho.entrypoints.http.admin.forms import read
from sekisho.entrypoints.http.admin.live import States, look
from sekisho.entrypoints.http.admin.openapi import describe
from sekisho.entrypoints.http.admin.routes import Route, checked, table
from sekisho.entrypoints.http.admin.wiring import Office
from sekisho.entrypoints.http.intake import Clock, make_call
from sekisho.stores.ports import StoreUnavailable
from sekisho.wire.messages import language_of

log = logging.getLogger("sekisho.admin")

MAX_BODY_BYTES = 64 * 1024
_ROUTE = CallRoute(path="/admin", protocol="openai_chat", operation="chat", api_type="sekisho/admin")
_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class AdminApplication:
    """Mounted at `/admin`."""

    def __init__(self, office: Office, clock: Clock) -> None:
        self._office = office
        self._clock = clock
        routes = table()
        description = msgspec.json.encode(describe((*routes, _description(b"{}"))))
        self.routes = checked((*routes, _description(description)))
        self._paths = [(route, HttpRoute(route.path, _never, methods=[route.method])) for route in self.routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        headers = [(bytes(name), bytes(value)) for name, value in scope["headers"]]
        call = make_call(_ROUTE, headers, b"", clock=self._clock, client_ip=None)
        try:
            response = await self._answer(request, call)
        except Refusal as refusal:
            response = self._refused(call, refusal)
        except StoreUnavailable as error:
            log.warning("the control database does not answer: %s", error, extra={"request_id": call.request_id})
            response = self._refused(call, Refusal(503, "store_unavailable", type="server_error", retry_after_s=1))
        except ClientDisconnect:
            return
        except Exception:
            log.exception("our own mistake", extra={"request_id": call.request_id})
            response = self._refused(call, Refusal(500, "internal_error", type="server_error"))
        await response(scope, receive, send)

    async def _answer(self, request: Request, call: Call) -> Response:
        asker = self._office.door.identify(call)  # 401, 403
        route, path = self._route(request)  # 404, 405
        if asker.role not in route.roles:
            roles = ", ".join(sorted(route.roles))
            raise Refusal(403, "role_not_allowed", type="permission_error", role=asker.role, roles=roles)
        query = _query(request, route)
        body = await _body(request, route)
        form = None if route.form is None else read(body, route.form)
        asked = Asked(by=asker, desk=self._office.desk, form=form, path=path, query=query)
        if route.live is not None:
            asked = msgspec.structs.replace(asked, states=await self._states(route, asker))
        status, answer = await asyncio.to_thread(route.run, asked)
        content = bytes(answer) if isinstance(answer, msgspec.Raw) else msgspec.json.encode(answer)
        if route.method != "GET":
            _told(asker, route, request, status)
        return Response(content, status, {**_HEADERS, "x-request-id": call.request_id}, "application/json")

    def _route(self, request: Request) -> tuple[Route, dict[str, str]]:
        """Raises Refusal 404, or 405 with the methods that the path has."""
        scope: dict[str, Any] = {**request.scope, "path": request.scope["path"], "root_path": ""}
        scope["path"] = scope["path"].removeprefix("/admin") or "/"
        allowed: list[str] = []
        for route, path in self._paths:
            match, found = path.matches(scope)
            if match is Match.FULL and request.method == route.method:
                return route, {name: str(value) for name, value in found["path_params"].items()}
            if match is not Match.NONE:
                allowed.append(route.method)
        if allowed:
            methods = ", ".join(dict.fromkeys(allowed))
            raise Refusal(405, "method_not_allowed", headers={"allow": methods}, method=request.method)
        raise Refusal(404, "not_found", path=request.scope["path"])

    async def _states(self, route: Route, asker: Asker) -> States:
        counted = self._office.counted()
        whole = await asyncio.to_thread(self._office.desk.whole)
        own = None if route.live == "all" else [key for key in whole.keys if key.id == asker.caller.key_id]
        return await look(counted, whole.facts(own))

    def _refused(self, call: Call, refusal: Refusal) -> Response:
        language = self._language(call)
        lines, body = answers.standalone(refusal, call.request_id, language)
        headers = dict(line.split(": ", 1) for line in lines.split("\r\n") if line)
        return Response(body, refusal.status, {**headers, **_HEADERS})

    def _language(self, call: Call) -> Language:
        default = self._office.language()
        wanted = call.headers.get(b"accept-language")
        return default if wanted is None else language_of(wanted, default)


def _description(content: bytes) -> Route:
    return Route(
        method="GET",
        path="/openapi.json",
        roles=EVERYBODY,
        run=lambda _: (200, msgspec.Raw(content)),
        says="This description.",
        answer=dict[str, Any],
    )


def _query(request: Request, route: Route) -> dict[str, str]:
    """Raises Refusal 400 for a parameter that the route does not know: a key has no place in an address."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in route.query or name in found:
            raise Refusal(400, "invalid_value", param=name, reason="there is no such parameter")
        found[name] = value
    return found


async def _body(request: Request, route: Route) -> bytes:
    """Raises Refusal 413, and 415 for what a form in a web page could send."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise Refusal(413, "request_too_large", message="admin_request_too_large", limit_kb=MAX_BODY_BYTES // 1024)
        parts.append(part)
    if size and route.form is None:
        raise Refusal(400, "invalid_json", message="body_not_taken")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if size and kind != "application/json":
        raise Refusal(415, "unsupported_media_type")
    return b"".join(parts)


def _told(asker: Asker, route: Route, request: Request, status: int) -> None:
    log.info(
        "control data changed: %s %s by %s",
        route.method,
        route.path,
        asker.caller.key_id,
        extra={"request_id": asker.request_id, "status": status},
    )


async def _never(request: Request) -> Response:
    raise AssertionError("routes are matched here, and run by the application")
