"""Between a client and a server of S3: passes requests on, and spoils those that a test picks."""

import http.client
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

FAILED = "failed"  # an answer of 500, the server never heard of the request
UNANSWERED = "unanswered"  # the connection ends, the server never heard of the request
LOST = "lost"  # the server did it, and the answer gets lost
CUT = "cut"  # half of the body comes, then the connection ends
FLIPPED = "flipped"  # one bit of what is sent changes on the way

_PASSED_BY = {"host", "connection", "expect", "transfer-encoding", "content-length"}


@dataclass
class Request:
    number: int
    method: str
    path: str
    headers: dict
    body: bytes = b""
    fate: object = None
    drop: set = field(default_factory=set)

    @property
    def query(self):
        return parse_qs(urlsplit(self.path).query, keep_blank_values=True)

    @property
    def operation(self):
        """The kinds that tests distinguish."""
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
    """Every request passes unspoiled."""


class FaultProxy:
    """`spoil(request)` may set `request.fate` to one of the words above or to (status, code), and may change it."""

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
        headers = {name: value for name, value in request.headers.items() if name not in _PASSED_BY | request.drop}
        connection = http.client.HTTPConnection(self.upstream, timeout=60)
        connection.request(request.method, request.path, body, {**headers, "Content-Length": str(len(body))})
        answer = connection.getresponse()
        return connection, answer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # The head of an answer and its body are sent one after the other, and the second would wait 40 ms for the
    # client's delayed acknowledgement of the first.
    disable_nagle_algorithm = True

    def handle_one_request(self):
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):  # a client that went away is what some tests are about
            self.close_connection = True

    def do_any(self):
        request = self.server.proxy.receive(self)
        if request.fate == UNANSWERED:
            self.close_connection = True
        elif request.fate == FAILED:
            self._refuse(500, "InternalError")
        elif isinstance(request.fate, tuple):
            self._refuse(*request.fate)
        else:
            self._pass_on(request)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = do_any  # noqa: N815 - http.server looks for these names

    def _refuse(self, status, code):
        body = b"" if self.command == "HEAD" else f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _pass_on(self, request):
        connection, answer = self.server.proxy.forward(request)
        try:
            if request.fate == LOST:
                answer.read()
                self.close_connection = True
                return
            length = int(answer.headers.get("Content-Length", 0))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in {"connection", "transfer-encoding", "date", "server"}:
                    self.send_header(name, value)
            if "Content-Length" not in answer.headers:
                self.send_header("Content-Length", "0")
            self.end_headers()
            left = length // 2 if request.fate == CUT else length
            while self.command != "HEAD" and (piece := answer.read(min(left, 65536))):
                self.server.proxy.bytes_sent += len(piece)
                self.wfile.write(piece)
                left -= len(piece)
            self.close_connection = self.close_connection or request.fate == CUT
        finally:
            connection.close()

    def log_message(self, *_):
        """Tests look at `requests` instead."""


@contextmanager
def running_proxy(upstream):
    """A proxy and its address, on a free port of the loopback."""
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
