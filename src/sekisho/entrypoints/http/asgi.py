"""The gateway as an ASGI application: the model routes by the same core, models, health, metrics, and honest errors.

Must behave on the model routes exactly as the hot protocol does: one test suite runs against both.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.routing import Route as HttpRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from sekisho.domain.call import Call, Caller, Language, Route
from sekisho.domain.errors import Refusal
from sekisho.entrypoints.http import answers
from sekisho.entrypoints.http.intake import (
    KEYLESS_BODY_BYTES,
    MAX_HEADER_BYTES,
    ROUTES,
    Clock,
    early_refusal,
    make_call,
    peer,
    unpack,
)
from sekisho.gateway.drive import driven
from sekisho.gateway.pipeline import Pipeline, Reply
from sekisho.ledger.refusals import ROWS_RETRY_AFTER_S
from sekisho.stores.ports import StoreUnavailable
from sekisho.wire.messages import language_of

if TYPE_CHECKING:
    from sekisho.entrypoints.http.admin.wiring import Office

log = logging.getLogger("sekisho.http")

#: routes that need no key; every other one does
PUBLIC_ROUTES = frozenset({"/health/live", "/health/ready", "/metrics"})
#: in a scope: when the request arrived here
_BEGAN_S = "sekisho.began_s"


class ModelRoute:
    """One model route as an ASGI application."""

    def __init__(self, route: Route, pipeline: Pipeline, clock: Clock) -> None:
        self._route = route
        self._pipeline = pipeline
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        headers = [(bytes(name), bytes(value)) for name, value in scope["headers"]]
        try:
            refusal, body = await self._body(request, headers)
        except ClientDisconnect:
            self._unread(make_call(self._route, headers, b"", clock=self._clock, client_ip=peer(scope)), scope)
            return
        call = make_call(self._route, headers, body, clock=self._clock, client_ip=peer(scope))
        if request.method != "POST":
            refusal = Refusal(405, "method_not_allowed", headers={"allow": "POST"}, method=request.method)
        if refusal is None and b"content-encoding" in call.headers:
            try:
                unpack(self._pipeline.snapshot, call)
            except Refusal as wrong:
                refusal = wrong
        if refusal is not None:
            await _send_plain(send, self._pipeline.refuse(call, refusal))
            return
        await self._serve(call, receive, send)

    def _unread(self, call: Call, scope: Scope) -> None:
        """The row of a call whose body does not come any more: its caller has left, or was told why."""
        told = scope.get(answers.REFUSED)
        if told is None:
            self._pipeline.gone(call)
        else:
            refusal, call.request_id = told
            self._pipeline.refuse(call, refusal)

    async def _body(self, request: Request, headers: list[tuple[bytes, bytes]]) -> tuple[Refusal | None, bytes]:
        if sum(len(name) + len(value) for name, value in headers) > MAX_HEADER_BYTES:
            return Refusal(431, "header_too_large", limit_kb=MAX_HEADER_BYTES // 1024), b""
        length = request.headers.get("content-length", "")
        parts: list[bytes] = []
        size, announced = 0, int(length) if length.isdecimal() else 0
        most = min(self._pipeline.snapshot.max_body_bytes, KEYLESS_BODY_BYTES)
        if announced > most and (refusal := self._early_refusal(headers, announced)) is not None:
            return refusal, b""
        async for part in request.stream():
            size += len(part)
            if size > most:
                if (refusal := self._early_refusal(headers, size)) is not None:
                    return refusal, b""
                most = self._pipeline.snapshot.max_body_bytes
            parts.append(part)
        return None, b"".join(parts)

    def _early_refusal(self, headers: list[tuple[bytes, bytes]], size: int) -> Refusal | None:
        call = make_call(self._route, headers, b"", clock=self._clock, client_ip=None)
        return early_refusal(self._pipeline.snapshot, call, size)

    async def _serve(self, call: Call, receive: Receive, send: Send) -> None:
        work = asyncio.ensure_future(self._run(call, send))
        watch = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                call.left = True
                work.cancel()
            await work
        except asyncio.CancelledError:
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
            if not call.left:
                raise
        finally:
            watch.cancel()

    async def _run(self, call: Call, send: Send) -> None:
        reply = await driven(self._pipeline.run(call))
        if reply.stream is None:
            await _send_plain(send, reply)
            return
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            # Cancelled in the moment between the first content and this line: the reply is there all the same.
            self._pipeline.left(reply)
        sink, begun = QueueSink(reply), False
        try:
            # first: where the head waits for what its caller has not read yet, the provider has to wait too
            reply.stream.start(sink)
            await send({"type": "http.response.start", "status": 200, "headers": _pairs(answers.fields(reply))})
            begun = True
            while (frames := await sink.next()) is not None:
                await send({"type": "http.response.body", "body": frames, "more_body": True})
        except asyncio.CancelledError:
            self._pipeline.left(reply)
            if call.left or not begun:
                raise
            while (frames := sink.now()) is not None:
                await send({"type": "http.response.body", "body": frames, "more_body": True})
        except Exception as error:
            call.left = isinstance(error, OSError)
            self._pipeline.left(reply)
            if not call.left:
                raise
            return
        await send({"type": "http.response.body", "body": b""})


class QueueSink:
    """Frames for a server that is asked, not told. A full queue pauses the provider."""

    _HIGH, _LOW = 64 * 1024, 16 * 1024

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._frames: list[bytes] = []
        self._size = 0
        self._ended = False
        self._ready = asyncio.Event()
        self._paused = False

    def write(self, frames: bytes) -> None:
        self._frames.append(frames)
        self._size += len(frames)
        self._ready.set()
        if self._size > self._HIGH and not self._paused:
            self._flow(paused=True)

    def finish(self) -> None:
        self._ended = True
        self._ready.set()

    async def next(self) -> bytes | None:
        """All frames that wait, or None at the end."""
        await self._ready.wait()
        return self.now()

    def now(self) -> bytes | None:
        frames, self._frames = b"".join(self._frames), []
        self._size = 0
        if not self._ended:
            self._ready.clear()
        if self._paused:
            self._flow(paused=False)
        return frames or None

    def _flow(self, *, paused: bool) -> None:
        self._paused = paused
        stream = self._reply.stream
        if stream is not None:
            (stream.pause if paused else stream.resume)()


class Gateway:
    """What the plain routes need from the application."""

    def __init__(
        self,
        pipeline: Pipeline,
        clock: Clock,
        *,
        metrics: Callable[[], bytes | Awaitable[bytes]],
        ready: Callable[[], dict[str, Any] | Awaitable[dict[str, Any]]],
        office: Callable[[], Office] | None = None,
    ) -> None:
        """One of several workers has to ask the others, so what it shows is awaited."""
        self.pipeline = pipeline
        self.clock = clock
        self.metrics = metrics
        self.ready = ready
        #: opens what `/admin` works with; may block, and may raise StoreUnavailable
        self._open_office = office
        self._admin: ASGIApp | None = None
        self._opening = asyncio.Lock()

    def watching(self) -> ASGIApp:
        """Health and metrics alone, for a port of their own."""
        return self._starlette([*self._health(), HttpRoute("/metrics", self._metrics, methods=["GET"])])

    def application(self, *, metrics: bool = True) -> ASGIApp:
        """Every route; `metrics` False where they have a port of their own."""
        routes = [
            *self._health(),
            *([HttpRoute("/metrics", self._metrics, methods=["GET"])] if metrics else []),
            HttpRoute("/v1/models", self._models, methods=["GET"]),
            HttpRoute("/v1/models/{model:path}", self._model, methods=["GET"]),
            *(HttpRoute(path.decode(), ModelRoute(route, self.pipeline, self.clock)) for path, route in ROUTES.items()),
            *([Mount("/admin", self.administration)] if self._open_office is not None else []),
        ]
        return self._starlette(routes)

    async def administration(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`/admin`, loaded with its first request."""
        if self._admin is None:
            try:
                async with self._opening:
                    self._admin = self._admin or await asyncio.to_thread(self._open_admin)
            except StoreUnavailable as error:
                log.warning("the control database does not answer: %s", error)
                refusal = Refusal(503, "store_unavailable", type="server_error", retry_after_s=1)
                await self._refused(Request(scope), refusal)(scope, receive, send)
                return
        await self._admin(scope, receive, send)

    def _open_admin(self) -> ASGIApp:
        from sekisho.entrypoints.http.admin.application import AdminApplication

        assert self._open_office is not None
        return AdminApplication(self._open_office(), self.clock)

    def _health(self) -> list[HttpRoute]:
        return [
            HttpRoute("/health/live", self._live, methods=["GET"]),
            HttpRoute("/health/ready", self._ready, methods=["GET"]),
        ]

    def _starlette(self, routes: Sequence[BaseRoute]) -> ASGIApp:
        handlers: dict[Any, Any] = {HTTPException: self._http_error, Exception: self._own_mistake}
        application = Starlette(routes=routes, exception_handlers=handlers)
        application.router.redirect_slashes = False  # a redirect has no error body, and repeats the caller's host

        async def timed(scope: Scope, receive: Receive, send: Send) -> None:
            scope[_BEGAN_S] = time.perf_counter()
            await application(scope, receive, send)

        return timed

    async def _live(self, request: Request) -> Response:
        return self._with_id(_json({"status": "ok"}))

    async def _ready(self, request: Request) -> Response:
        found = self.ready()
        state = await found if isinstance(found, Awaitable) else found
        if state["status"] == "ok":
            return self._with_id(_json(state))
        response = self._with_id(_json(state, 503))
        response.headers["retry-after"] = str(ROWS_RETRY_AFTER_S)
        return response

    async def _metrics(self, request: Request) -> Response:
        found = self.metrics()
        try:
            text = await found if isinstance(found, Awaitable) else found
        except TimeoutError:
            return self._refused(request, Refusal(503, "metrics_unavailable", type="server_error", retry_after_s=1))
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _models(self, request: Request) -> Response:
        try:
            caller = self._identify(request)
        except Refusal as refusal:
            return self._refused(request, refusal)
        names = self.pipeline.snapshot.models(caller)
        return self._answered(request, {"object": "list", "data": [_model(name) for name in names]})

    async def _model(self, request: Request) -> Response:
        name = request.path_params["model"]
        try:
            caller = self._identify(request)
            self.pipeline.snapshot.check_model(caller, name)
        except Refusal as refusal:
            return self._refused(request, refusal)
        return self._answered(request, _model(name))

    def _identify(self, request: Request) -> Caller:
        headers = [(bytes(name), bytes(value)) for name, value in request.scope["headers"]]
        route = Route(path="/v1/models", protocol="openai_chat", operation="chat", api_type="openai/v1/models")
        call = make_call(route, headers, b"", clock=self.clock, client_ip=None)
        return self.pipeline.snapshot.identify(call)

    async def _http_error(self, request: Request, error: HTTPException) -> Response:
        if error.status_code == 405:
            allow = (error.headers or {}).get("allow") or (error.headers or {}).get("Allow") or ""
            refusal = Refusal(405, "method_not_allowed", headers={"allow": allow}, method=request.method)
        elif error.status_code == 404:
            refusal = Refusal(404, "not_found", path=request.url.path)
        else:
            refusal = Refusal(error.status_code, "bad_http")
        return self._refused(request, refusal)

    async def _own_mistake(self, request: Request, error: Exception) -> Response:
        return self._refused(request, Refusal(500, "internal_error", type="server_error"))

    def _refused(self, request: Request, refusal: Refusal) -> Response:
        lines, body = answers.standalone(refusal, self._id(), self._language(request))
        response = Response(body, refusal.status)
        lines += answers.no_attempt(_elapsed_s(request))
        response.raw_headers = [*_pairs(lines), (b"content-length", b"%d" % len(body))]
        return response

    def _answered(self, request: Request, value: object) -> Response:
        response = self._with_id(_json(value))
        response.raw_headers += _pairs(answers.no_attempt(_elapsed_s(request)))
        return response

    def _with_id(self, response: Response) -> Response:
        response.headers["x-request-id"] = self._id()
        return response

    def _id(self) -> str:
        return self.clock.request_id(self.clock.wall_us())

    def _language(self, request: Request) -> Language:
        default = self.pipeline.snapshot.language
        wanted = request.headers.get("accept-language")
        return default if wanted is None else language_of(wanted.encode("latin-1", "replace"), default)


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _elapsed_s(request: Request) -> float:
    return time.perf_counter() - request.scope[_BEGAN_S]


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "sekisho"}


async def _send_plain(send: Send, reply: Reply) -> None:
    body = answers.body(reply)
    headers = [*_pairs(answers.fields(reply)), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _pairs(lines: str) -> list[tuple[bytes, bytes]]:
    pairs: list[tuple[bytes, bytes]] = []
    for line in lines.encode("latin-1").split(b"\r\n"):
        name, colon, value = line.partition(b": ")
        if colon:
            pairs.append((name, value))
    return pairs


async def _disconnected(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
