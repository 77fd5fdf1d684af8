# SPDX-License-Identifier: Apache-2.0
"""Kubelet's /pods over http, or https with a bearer token, on a port of 127.0.0.1."""

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class PodServer:
    """Serves at `url` on a thread until it is closed or the process ends; with a `token` others get 401."""

    def __init__(
        self, pods: Callable[[], bytes], port: int = 0, *, token: str = "", tls: ssl.SSLContext | None = None
    ) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(pods, token))
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="pods", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(pods: Callable[[], bytes], token: str) -> type[BaseHTTPRequestHandler]:
    class PodListHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if token and self.headers.get("Authorization") != f"Bearer {token}":
                self._answer(401, b"Unauthorized")
            elif self.path.partition("?")[0].rstrip("/") == "/pods":
                self._answer(200, pods())
            else:
                self._answer(404, b"404 page not found")

        def _answer(self, code: int, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: the stand-in's output is its caller's."""

    return PodListHandler
