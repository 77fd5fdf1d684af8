# SPDX-License-Identifier: Apache-2.0
"""/metrics, /livez and /readyz over plain HTTP, without request bodies and without blocking the loop."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final

from msgspec import Struct
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from hamid.core.metrics.family import Family
from hamid.node.ports import Logger

_MAX_HEAD: Final = 8 * 1024
_TIMEOUT_SECONDS: Final = 5.0
_MAX_CONNECTIONS: Final = 64
_RETRY_SECONDS: Final = 10.0
_PARTS: Final = 3
_TEXT: Final = "text/plain; charset=utf-8"
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


class Response(Struct, frozen=True):
    """Status, body and its type."""

    status: int
    body: bytes
    content_type: str = _TEXT


Route = Callable[[str], Awaitable[Response]]


class Web:
    """Serves `routes` (path -> handler of a query string). A busy port is a `problem` and is tried again."""

    def __init__(self, address: str, routes: Mapping[str, Route], log: Logger) -> None:
        host, _, port = address.rpartition(":")
        self._host = host.strip("[]")
        self._port = int(port)
        self._routes = routes
        self._log = log
        self._open = 0
        self.problem = ""
        self.port = 0

    async def run(self) -> None:
        """Serves until cancelled."""
        while True:
            try:
                server = await asyncio.start_server(self._handle, self._host, self._port, limit=_MAX_HEAD)
            except OSError as error:
                self._complain(f"cannot serve metrics on {self._host}:{self._port}: {error.strerror or error}")
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            self.problem = ""
            self.port = server.sockets[0].getsockname()[1]
            self._log.info("metrics_serving", host=self._host, port=self.port)
            async with server:
                await server.serve_forever()

    def _complain(self, problem: str) -> None:
        if problem != self.problem:
            self._log.warning("metrics_not_served", problem=problem)
        self.problem = problem

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                answer, body = await self._answer(reader)
                writer.write(_rendered(answer, body=body))
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass  # a caller who left or dawdles
        finally:
            self._open -= 1
            writer.close()
            with contextlib.suppress(ConnectionError, TimeoutError):
                await asyncio.wait_for(writer.wait_closed(), _TIMEOUT_SECONDS)

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[Response, bool]:
        """The response to one request, and whether to send its body."""
        if self._open > _MAX_CONNECTIONS:
            return Response(503, b"too many connections\n"), True
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return Response(400, b"the request's head is too long\n"), True
        line = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(line) != _PARTS or not line[2].startswith("HTTP/1."):
            return Response(400, b"no HTTP/1 request\n"), True
        method, target, _ = line
        path, _, query = target.partition("?")
        route = self._routes.get(path)
        if method not in {"GET", "HEAD"}:
            return Response(405, b"GET only\n"), True
        if route is None:
            return Response(404, f"available: {', '.join(self._routes)}\n".encode()), method == "GET"
        return await route(query), method == "GET"


def _rendered(answer: Response, *, body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}\r\nContent-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (answer.body if body else b"")


class _Families(Collector):
    """The families in the form in which prometheus_client writes them."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        """Each as its own metric."""
        for family in self._families:
            metric = Metric(family.name, family.text, family.kind)
            for each in family.samples:
                metric.add_sample(family.name + each.suffix, dict(each.labels), each.value)
            yield metric


def metrics(families: Iterable[Family]) -> Response:
    """The families in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return Response(200, exposition.generate_latest(registry), exposition.CONTENT_TYPE_LATEST)


def checks(found: Mapping[str, str], query: str, *, name: str) -> Response:
    """`ok` or the problems, in the format of Kubernetes' /readyz; `?verbose` lists every check."""
    bad = {check: problem for check, problem in found.items() if problem}
    lines = [f"[-]{check} failed: {problem}" if problem else f"[+]{check} ok" for check, problem in found.items()]
    verdict = f"{name} check {'failed' if bad else 'passed'}"
    text = "\n".join([*lines, verdict]) if bad or "verbose" in query.split("&") else "ok"
    return Response(503 if bad else 200, f"{text}\n".encode())
