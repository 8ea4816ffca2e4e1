"""A local HTTP server that misbehaves as it is told."""

import contextlib
import hashlib
import http.server
import re
import socket
import struct
import threading
import time

MODIFIED = "Mon, 01 Jan 2024 00:00:00 GMT"


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`, {path: bytes}. Lists are used up, an entry a request:

    cuts : bytes to send before the connection is cut, or None for a whole answer
    statuses : codes to answer with instead, or None

    `log` has (path, Range header) of each request; `after_cut` is called when a connection was cut.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.cuts, self.statuses, self.log = {}, [], [], []
        self.ranges, self.etag, self.modified, self.length, self.reset = True, True, False, True, False
        self.shift, self.stall, self.pause, self.redirects = 0, 0.0, 0.0, {}
        self.after_cut = lambda: None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """A client that hangs up is no error here."""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.log.append((self.path, asked))
        status = server.statuses.pop(0) if server.statuses else None
        if self.path in server.redirects:
            self.send_response(302)
            self.send_header("Location", server.redirects[self.path])
            return self.end_headers()
        if status or self.path not in server.files:
            return self.send_error(status or 404)
        data = server.files[self.path]
        self._send(data, self._start(data, asked), server.cuts.pop(0) if server.cuts else None)

    def _tags(self, data):
        tags = {"ETag": f'"{hashlib.sha256(data).hexdigest()[:16]}"'} if self.server.etag else {}
        return tags | ({"Last-Modified": MODIFIED} if self.server.modified else {})

    def _start(self, data, asked):
        condition = self.headers.get("If-Range")
        if not asked or not self.server.ranges or (condition and condition not in self._tags(data).values()):
            return 0
        return int(re.fullmatch(r"bytes=(\d+)-", asked)[1])

    def _send(self, data, start, cut):
        self.send_response(206 if start else 200)
        for name, value in self._tags(data).items():
            self.send_header(name, value)
        start -= self.server.shift if start else 0
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if self.server.length:
            self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        body = data[start:] if cut is None else data[start : start + cut]
        for place in range(0, len(body), 1 << 16):
            self.wfile.write(body[place : place + (1 << 16)])
            time.sleep(self.server.pause)
        if cut is not None:
            self.server.after_cut()
            time.sleep(self.server.stall)
            if self.server.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving():
    """A running Server."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
