"""A server on this machine that behaves as MPI's download form, or lies: accounts, cuts, ranges."""

import re
import time
import urllib.parse
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from helpers.serving import serving

PAGE = b"<!DOCTYPE html><html>Please log in \x1b[31m</html>"


class FormServer(ThreadingHTTPServer):
    """Answers with `data` to the right account, and with a page to others.

    Attributes:
        cuts: bytes that each answer sends before the line drops.
        ranges: whether Range is honoured.
        status: of every answer; None hangs up without a word.
        headers: more headers, or others in place of the usual ones.
        raw: bytes sent instead of any answer, `drip` seconds apart.
        endless: whether zeros follow the data without end.
        location: where a request for /moved is sent on to.
        seen: query and Range of every request.
    """

    daemon_threads = True

    def __init__(self, data: bytes, account: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.data, self.account = data, account
        self.cuts, self.ranges, self.status = [], True, 200
        self.headers, self.raw, self.drip, self.endless = {}, None, 0.0, False
        self.location = None
        self.seen = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/download.php"


class _Handler(BaseHTTPRequestHandler):
    server: FormServer

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = dict(urllib.parse.parse_qsl(body, strict_parsing=True))
        query = dict(urllib.parse.parse_qsl(self.path.partition("?")[2]))
        self.server.seen.append((query, self.headers.get("Range")))
        good = query.get("domain") == "flame" and query.get("resume") == "1"
        self.answer_with(self.server.data if good and form == self.server.account else PAGE)

    def do_GET(self):
        self.server.seen.append((self.path, self.headers.get("Range")))
        self.answer_with(self.server.data)

    def answer_with(self, data):
        server = self.server
        self.close_connection = True
        try:
            if server.raw is not None and not server.drip:
                self.wfile.write(server.raw)
            elif server.raw is not None:
                for byte in server.raw:
                    self.wfile.write(bytes([byte]))
                    time.sleep(server.drip)
            elif server.location and self.path.startswith("/download"):
                self.send(302, b"", {"Location": server.location})
            elif server.status is None:
                return
            elif server.status != 200:
                self.send_error(server.status)
            else:
                self.send_range(data)
        except OSError:
            pass  # the client has gone

    def send_range(self, data):
        start = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if not (start and self.server.ranges) or data is PAGE:
            return self.send(200, data, {})
        at = int(start[1])
        if at >= len(data):
            return self.send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
        place = f"bytes {at}-{len(data) - 1}/{len(data)}"
        return self.send(206, data[at:], {"Content-Range": place})

    def send(self, status, data, headers):
        self.send_response(status)
        headers = {"Content-Length": len(data), **headers, **self.server.headers}
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else len(data)
        self.wfile.write(data[:cut])
        while self.server.endless:
            self.wfile.write(bytes(1 << 16))

    def log_message(self, *_):
        pass


@contextmanager
def form_server(data: bytes, account: dict[str, str]):
    """A FormServer that is running."""
    server = FormServer(data, account)
    with serving(server):
        yield server
