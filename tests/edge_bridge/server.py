"""The portal as a real HTTP server in threads of this process, on the test's own database connection, one call at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

from django.core.wsgi import get_wsgi_application
from django.db import connections


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Agents are killed in mid-call here: a broken connection is no news."""


class _Handler(WSGIRequestHandler):
    server: Any

    def log_message(self, *args: Any) -> None:
        pass

    def handle(self) -> None:
        portal: Portal = self.server.portal
        self.raw_requestline = self.rfile.readline(65537)
        if not self.parse_request() or portal.away:
            return
        handler = ServerHandler(self.rfile, self.wfile, self.get_stderr(), self.get_environ(), multithread=True)
        handler.request_handler = self  # type: ignore[attr-defined]
        with portal.lock, portal.shared():
            portal.calls.append(self.path)
            handler.run(self.server.get_app())


class Portal:
    """``with portal.lock:`` around everything a test does in the database while the server runs."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.away = False
        self.calls: list[str] = []
        self._connections = {alias: connections[alias] for alias in connections}
        for connection in self._connections.values():
            connection.inc_thread_sharing()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.portal = self  # type: ignore[attr-defined]
        self._server.set_app(get_wsgi_application())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def shared(self) -> Iterator[None]:
        for alias, connection in self._connections.items():
            connections[alias] = connection
        yield

    def wait(self, condition: Callable[[], Any], seconds: float = 40.0, *, say: Callable[[], Any] = lambda: "") -> Any:
        """Until ``condition()`` (run under the lock) is true; its value."""
        until = time.monotonic() + seconds
        pause = threading.Event()
        while True:
            with self.lock:
                found = condition()
                if found:
                    return found
                if time.monotonic() > until:
                    raise AssertionError(f"not within {seconds} s: {say()}")
            pause.wait(0.1)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        with self.lock:
            for connection in self._connections.values():
                connection.dec_thread_sharing()
