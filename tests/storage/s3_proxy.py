"""A proxy between a client and an S3 server: forwards requests and injects the faults that a test selects."""

import http.client
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

FAILED = "failed"  # response 500; the server does not receive the request
UNANSWERED = "unanswered"  # the connection is closed; the server does not receive the request
LOST = "lost"  # the server executes the request; the response is lost
CUT = "cut"  # the connection is closed after half of the body
FLIPPED = "flipped"  # one bit of the request body is flipped

# The name of the host is forwarded: it is part of the signature.
_NOT_FORWARDED = {"connection", "expect", "transfer-encoding", "content-length"}


@dataclass
class Request:
    number: int
    method: str
    path: str
    headers: dict
    body: bytes = b""
    fate: object = None
    drop: set = field(default_factory=set)
    hide: set = field(default_factory=set)
    rewrite: object = None

    @property
    def query(self):
        return parse_qs(urlsplit(self.path).query, keep_blank_values=True)

    @property
    def operation(self):
        """The kind of request, as tests distinguish it."""
        query = self.query
        if self.method == "PUT" and urlsplit(self.path).path.count("/") > 1:
            if "partNumber" in query:
                return "copy part" if "x-amz-copy-source" in self.headers else "part"
            return "put"
        if self.method == "POST" and "uploadId" in query:
            return "complete"
        if self.method == "POST" and "uploads" in query:
            return "begin"
        if self.method == "GET" and urlsplit(self.path).path.count("/") > 1 and not query.keys() & {"uploadId"}:
            return "get"
        return self.method.lower()


def _spare(request):
    """Forward every request unchanged."""


class FaultProxy:
    """`spoil(request)` may set `request.fate` to a fault above or to (status, code[, headers, xml]), or change it.

    `request.hide` are headers that the response loses; `request.rewrite(body)` returns another body for it.
    """

    def __init__(self, upstream):
        self.upstream = urlsplit(upstream).netloc
        self.requests = []
        self.bytes_sent = 0
        self.spoil = _spare
        self._lock = threading.Lock()

    def reset(self):
        self.requests, self.bytes_sent, self.spoil = [], 0, _spare

    def count(self, operation):
        return sum(request.operation == operation for request in self.requests)

    def receive(self, handler):
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self._lock:
            request = Request(len(self.requests) + 1, handler.command, handler.path, headers)
            self.requests.append(request)
        request.body = handler.rfile.read(int(headers.get("content-length", 0)))
        self.spoil(request)
        return request

    def forward(self, request):
        body = bytes([request.body[0] ^ 1]) + request.body[1:] if request.fate == FLIPPED else request.body
        headers = {name: value for name, value in request.headers.items() if name not in _NOT_FORWARDED | request.drop}
        connection = http.client.HTTPConnection(self.upstream, timeout=60)
        connection.request(request.method, request.path, body, {**headers, "Content-Length": str(len(body))})
        response = connection.getresponse()
        return connection, response


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Header and body of a response are sent separately; with Nagle the body would wait 40 ms for the delayed
    # acknowledgement of the header.
    disable_nagle_algorithm = True

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):  # some tests close the connection of the client
            self.close_connection = True

    def do_any(self):
        request = self.server.proxy.receive(self)
        if request.fate == UNANSWERED:
            self.close_connection = True
        elif request.fate == FAILED:
            self._send_error(500, "InternalError")
        elif isinstance(request.fate, tuple):
            self._send_error(*request.fate)
        else:
            self._forward(request)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_any  # noqa: N815 - names that http.server requires

    def _send_error(self, status, code, headers=(), message="<Message>no</Message>"):
        document = f"<Error><Code>{code}</Code>{message}</Error>"
        # Without a code: the page of a proxy or of another server.
        body = b"" if self.command == "HEAD" else (document if code else "<html><h1>Hello</h1><br></html>").encode()
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _forward(self, request):
        connection, response = self.server.proxy.forward(request)
        try:
            if request.fate == LOST:
                response.read()
                self.close_connection = True
                return
            if request.rewrite is None and self.command != "HEAD" and "Content-Length" not in response.headers:
                request.rewrite = bytes  # a response in chunks: sent whole
            if request.rewrite is not None:
                self._send_rewritten(request, response)
                return
            length = int(response.headers.get("Content-Length", 0))
            self._send_headers(request, response)
            if "Content-Length" not in response.headers:
                self.send_header("Content-Length", "0")
            self.end_headers()
            remaining = length // 2 if request.fate == CUT else length
            while self.command != "HEAD" and (chunk := response.read(min(remaining, 65536))):
                self.server.proxy.bytes_sent += len(chunk)
                self.wfile.write(chunk)
                remaining -= len(chunk)
            self.close_connection = self.close_connection or request.fate == CUT
        finally:
            connection.close()

    def _send_headers(self, request, response, hide=frozenset()):
        self.send_response(response.status)
        for name, value in response.headers.items():
            if name.lower() not in {"connection", "transfer-encoding", "date", "server"} | request.hide | hide:
                self.send_header(name, value)

    def _send_rewritten(self, request, response):
        body = request.rewrite(response.read())
        self._send_headers(request, response, {"content-length"})
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """No log: tests use `requests`."""


@contextmanager
def running_proxy(upstream):
    """Yield a proxy and its address, on a free port of the loopback interface."""
    proxy = FaultProxy(upstream)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.proxy = proxy
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy, f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
