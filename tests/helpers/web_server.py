"""A web server of files on this machine that can cut answers short, fail, or serve no parts."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from helpers.serving import serving


class WebServer(ThreadingHTTPServer):
    """Serves `files`, and for other paths that end in / a page of links to those below.

    Attributes:
        files: content by path, "/a.tar".
        ranges: whether Range is honoured.
        cuts: bytes that the next answers to GET send before the line drops.
        delay: seconds before every answer.
        raw: answers by path as they stand, headers included, before anything else.
        statuses: of the next answers to GET, before anything else.
        requests: (method, path, Range) of all requests.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.ranges = files, True
        self.cuts: list[int] = []
        self.statuses: list[int] = []
        self.delay = 0.0
        self.raw: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        """Lines dropped on purpose are nothing to tell."""


class _Handler(BaseHTTPRequestHandler):
    server: WebServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        server, path = self.server, urlsplit(self.path).path
        asked = self.headers.get("Range")
        server.requests.append((self.command, path, asked))
        time.sleep(server.delay)
        if path in server.raw:
            self.wfile.write(server.raw[path])
            self.close_connection = True
            return
        if body and server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        data = server.files.get(path)
        below = [name for name in server.files if name.startswith(path)]
        if data is None and path.endswith("/") and below:
            names = [name.removeprefix(path) for name in below]
            data = "".join(f'<a href="{name}">{name}</a>\n' for name in names).encode()
        if data is None:
            self.send_error(404)
            return
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", asked or "") if server.ranges else None
        begin, end = 0, len(data)
        if part:
            begin, end = int(part[1]), min(int(part[2] or end) + 1, end)
        self.send_response(206 if part else 200)
        self.send_header("Content-Length", str(end - begin))
        if server.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if part:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(data)}")
        self.end_headers()
        if body:
            cut = server.cuts.pop(0) if server.cuts and path in server.files else end - begin
            self.wfile.write(data[begin : begin + min(cut, end - begin)])
            self.wfile.flush()
        self.close_connection = True


@contextmanager
def web_server(files: dict[str, bytes]) -> Iterator[WebServer]:
    """A server at work until the block ends."""
    server = WebServer(files)
    with serving(server):
        yield server
