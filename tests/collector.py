"""A collector of OpenTelemetry: takes spans over HTTP, and misbehaves when told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.harness import free_port


class Received(NamedTuple):
    """A span as it came."""

    name: str
    service: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]


class Collector:
    """Listens inside `with`.

    Args:
        answer: the status of every answer; 0: none comes before the end.
    """

    def __init__(self, answer: int = 200) -> None:
        self.answer = answer
        self.spans: list[Received] = []
        self.requests = 0
        self.over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", free_port()), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def named(self, name: str, **attributes: object) -> list[Received]:
        """The spans of this name, with these of testcast's attributes, the earliest first."""
        wanted = {f"testcast.{key}": value for key, value in attributes.items()}
        found = [each for each in self.spans if each.name == name and wanted.items() <= each.attributes.items()]
        return sorted(found, key=lambda each: each.start_ns)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.requests += 1
                if self.path != "/v1/traces":
                    self.send_error(404)
                    return
                if not collector.answer:
                    collector.over.wait(60)
                    return
                if collector.answer == 200:
                    collector.spans += _spans(body)
                self.send_response(collector.answer)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def _spans(body: bytes) -> Iterator[Received]:
    request = ExportTraceServiceRequest.FromString(body)
    for of_process in request.resource_spans:
        about = {each.key: each.value.string_value for each in of_process.resource.attributes}
        for scope in of_process.scope_spans:
            for span in scope.spans:
                attributes = {each.key: _value(each.value) for each in span.attributes}
                ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
                times = (span.start_time_unix_nano, span.end_time_unix_nano)
                yield Received(span.name, about["service.name"], *ids, *times, attributes)


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))
