"""Traces of runs, by OpenTelemetry: from submitting through the worker and the store to the first send to viewers.

The only file that knows OpenTelemetry, which is imported when `start` finds a collector in the settings. Without one
`on` is False and everything here does nothing: whoever stands on a hot path asks `tracing.on` first.

The context of a trace travels as `traceparent` (W3C Trace Context): in a header of NATS messages, and of HTTP requests.
Spans are sent by a thread of their own, from a bounded queue. What the collector does not take is dropped, with one
line in the log a minute; nothing waits for it.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import random
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from broker import config
from broker.log import RateLimited, bound
from broker.version import VERSION

if TYPE_CHECKING:
    from broker.config import TraceSettings

Kind = Literal["internal", "producer", "consumer", "server"]
Attribute = str | int | float | bool
Attributes = Mapping[str, Attribute | None]
"""By name, without `testcast.` in front. None is left out."""

HEADER: Final = "traceparent"
FLUSH_S: Final = 3.0
"""How long the end of a process may wait for its last spans."""
on = False
"""Whether spans are made. Ask for `tracing.on`: the name changes its value."""

_EXPORT_S: Final = 5.0
"""How long the collector may take to answer."""
_MAX_QUEUE: Final = 4096
_MAX_BATCH: Final = 512
_SEND_EVERY_MS: Final = 1000
_EVENTS_PER_S: Final = 100.0
"""Spans for progress events, and for events that others have marked, of this process. Others go without."""
_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_PROGRESS: Final = b'"type":"progress"'
_log = logging.getLogger("testcast.traces")
_troubles = RateLimited(_log, per_s=60.0)


class _Tracing:
    """What `start` has set up."""

    def __init__(self) -> None:
        self.tracer: Any = None
        self.provider: Any = None
        self.exporter: Any = None
        self.api: Any = None
        self.sample = 1.0
        self.tokens = _EVENTS_PER_S
        self.filled_at = 0.0


_state = _Tracing()


class Place:
    """Where a task stands in a trace. A step changes it for every task that shares it."""

    __slots__ = ("root", "step", "traceparent")

    def __init__(self, traceparent: str, root: Span | None = None) -> None:
        self.traceparent = traceparent
        """The context of whatever begins now."""
        self.root = root
        """The span that the steps belong to."""
        self.step: Span | None = None


_place: ContextVar[Place | None] = ContextVar("place in a trace", default=None)


class Span:
    """A piece of a trace. One that is not recorded accepts everything and does nothing."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: Any = None) -> None:
        self._span = span
        self.traceparent = ""
        """Its context, empty where there are no traces."""
        if span is not None:
            context = span.get_span_context()
            self.traceparent = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def __repr__(self) -> str:
        return f"<Span {self.traceparent or 'none'}>"

    @property
    def sampled(self) -> bool:
        """Whether it is recorded."""
        return self._span is not None and self._span.is_recording()

    def set(self, **attributes: Attribute | None) -> None:
        """Says more about it. `testcast.` is put in front of the names."""
        if self._span is not None:
            for name, value in attributes.items():
                if value is not None:
                    self._span.set_attribute(f"testcast.{name}", value)

    def end(self, error: BaseException | None = None) -> None:
        """It ends now.

        Args:
            error: why it failed. Its type is told, and not its text, which may name an address.
        """
        if self._span is None:
            return
        if error is not None:
            self._span.set_attribute("error.type", type(error).__name__)
            self._span.set_status(_state.api.StatusCode.ERROR)
        self._span.end()


NO_SPAN: Final = Span()


def start(part: str, settings: TraceSettings | None = None) -> None:
    """Begins to make and send spans, where a collector is named.

    Args:
        part: "edge", "agent" or "cli".
        settings: None: as the environment says.

    Raises:
        InvalidSetting: a setting makes no sense; the message names the variable.
    """
    global on
    chosen = settings or config.traces()
    if not chosen.endpoint or on:
        return
    try:
        sdk = importlib.import_module("opentelemetry.sdk.trace")
        export = importlib.import_module("opentelemetry.sdk.trace.export")
        sampling = importlib.import_module("opentelemetry.sdk.trace.sampling")
        resources = importlib.import_module("opentelemetry.sdk.resources")
        otlp = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        _state.api = importlib.import_module("opentelemetry.trace")
    except ImportError:
        _log.warning(
            "TESTCAST_OTLP_ENDPOINT is set, and there are no traces: OpenTelemetry is not installed: "
            "pip install 'testcast[traces]'"
        )
        return
    _listen_to_opentelemetry(chosen.endpoint)
    process = f"{socket.gethostname()}-{os.getpid()}"
    about = {"service.name": f"testcast-{part}", "service.version": VERSION, "service.instance.id": process}
    sampler = sampling.ParentBased(sampling.TraceIdRatioBased(chosen.sample))
    _state.sample = chosen.sample
    _state.provider = sdk.TracerProvider(
        sampler=sampler, resource=resources.Resource.create(about), shutdown_on_exit=False
    )
    _state.exporter = otlp.OTLPSpanExporter(endpoint=chosen.endpoint, timeout=_EXPORT_S)
    _state.provider.add_span_processor(
        export.BatchSpanProcessor(
            _state.exporter,
            max_queue_size=_MAX_QUEUE,
            schedule_delay_millis=_SEND_EVERY_MS,
            max_export_batch_size=_MAX_BATCH,
        )
    )
    _state.tracer = _state.provider.get_tracer("testcast", VERSION)
    on = True


def stop(within_s: float = FLUSH_S) -> None:
    """Sends what is left, for at most `within_s`, and makes no more spans. Harmless when there are none. Blocks."""
    global on
    if not on:
        return
    on = False
    provider, exporter = _state.provider, _state.exporter
    sending = threading.Thread(target=_shut, args=(provider,), name="last spans", daemon=True)
    sending.start()
    sending.join(within_s)
    if sending.is_alive():
        _log.warning("the last spans could not be sent within %g s: they are dropped", within_s)
        with contextlib.suppress(Exception):
            exporter.shutdown()


def _shut(provider: Any) -> None:
    with contextlib.suppress(Exception):
        provider.shutdown()


class _Listener(logging.Handler):
    """Passes on what OpenTelemetry says, at most a line a minute: a collector that is away is one thing to know."""

    def __init__(self, host: str) -> None:
        super().__init__(logging.WARNING)
        self._host = host

    def emit(self, record: logging.LogRecord) -> None:
        """Called in the thread that sends."""
        _troubles.warning("spans do not reach %s: %s", self._host, record.getMessage().partition("\n")[0][:300])


def _listen_to_opentelemetry(endpoint: str) -> None:
    theirs = logging.getLogger("opentelemetry")
    theirs.propagate = False
    theirs.handlers[:] = [_Listener(urlsplit(endpoint).netloc)]
    for name in ("urllib3", "requests"):
        logging.getLogger(name).setLevel(logging.ERROR)


# -- spans -------------------------------------------------------------------------------------------------------------


def parsed(traceparent: str | bytes | None) -> str:
    """A context as version 00 has it; empty when it is absent or malformed (W3C Trace Context, 3.2)."""
    if not traceparent or len(traceparent) > 512:
        return ""
    text = traceparent.decode("latin-1") if isinstance(traceparent, bytes) else traceparent
    found = _FORM.fullmatch(text)
    if found is None or found[1] == "ff" or (found[1] == "00" and found[5]):
        return ""
    if not int(found[2], 16) or not int(found[3], 16):
        return ""
    return f"00-{found[2]}-{found[3]}-{found[4]}"


def is_sampled(traceparent: str) -> bool:
    """Whether a parsed context says that its trace is recorded."""
    return bool(traceparent) and bool(int(traceparent[-2:], 16) & 1)


def begin(
    name: str,
    parent: str,
    kind: Kind = "internal",
    *,
    since_ms: int = 0,
    attributes: Attributes = MappingProxyType({}),
) -> Span:
    """Begins a span; whoever does ends it.

    Args:
        parent: a parsed context; empty for the first span of a trace.
        since_ms: when it began, ms since 1970 by another clock; 0: now. Never later than now.
    """
    if not on:
        return NO_SPAN
    api = _state.api
    context = api.set_span_in_context(api.INVALID_SPAN)
    if parent:
        remote = api.SpanContext(
            int(parent[3:35], 16), int(parent[36:52], 16), True, api.TraceFlags(int(parent[53:], 16))
        )
        context = api.set_span_in_context(api.NonRecordingSpan(remote))
    start_time = min(since_ms * 1_000_000, time.time_ns()) if since_ms else None
    span = _state.tracer.start_span(name, context, getattr(api.SpanKind, kind.upper()), start_time=start_time)
    made = Span(span)
    made.set(**attributes)
    return made


@contextlib.contextmanager
def span(name: str, kind: Kind = "internal", **attributes: Attribute | None) -> Iterator[Span]:
    """A span around the block, below that of this task. What begins inside, here or in tasks made here, is below it."""
    if not on:
        yield NO_SPAN
        return
    made = begin(name, current(), kind, attributes=attributes)
    place = Place(made.traceparent, made)
    token = _place.set(place)
    failed: BaseException | None = None
    try:
        with bound(trace_id=made.traceparent[3:35] if made.sampled else None):
            yield made
    except BaseException as error:
        failed = error
        raise
    finally:
        _end_step(place)
        made.end(failed)
        _place.reset(token)


def current() -> str:
    """The context of this task; empty for none."""
    place = _place.get()
    return "" if place is None else place.traceparent


def headers() -> dict[str, str]:
    """What tells the receiver of a message, or of a request, the context of this task."""
    context = current() if on else ""
    return {HEADER: context} if context else {}


def note(**attributes: Attribute | None) -> None:
    """Says more about the span that this task is in."""
    place = _place.get() if on else None
    if place is not None and place.root is not None:
        place.root.set(**attributes)


def step(name: str, **attributes: Attribute | None) -> None:
    """The next step of the span that this task is in: the one before it ends, and what begins from now on is below."""
    place = _place.get() if on else None
    if place is None or place.root is None:
        return
    _end_step(place)
    place.step = begin(name, place.root.traceparent, attributes=attributes)
    place.traceparent = place.step.traceparent


def _end_step(place: Place) -> None:
    if place.step is not None:
        place.step.end()
        place.step = None


def adopt(traceparent: str | bytes | None) -> None:
    """For the rest of this task, what begins is below this context. One that is malformed changes nothing."""
    context = parsed(traceparent)
    if context:
        _place.set(Place(context))


@contextlib.contextmanager
def queued(traceparent: bytes | None, since_ms: int, **attributes: Attribute | None) -> Iterator[None]:
    """A job has been taken from the queue: a span for its wait. Tasks that are made inside continue its trace."""
    if not on:
        yield
        return
    context = parsed(traceparent)
    if context:
        begin("queue wait", context, "consumer", since_ms=since_ms, attributes=attributes).end()
    token = _place.set(Place(context) if context else None)
    try:
        yield
    finally:
        _place.reset(token)


# -- events ------------------------------------------------------------------------------------------------------------


def store(test_id: str, payload: bytes) -> Span:
    """A span for storing an event; the message carries its context. Progress events have one as often as runs do."""
    context = current()
    if not on or not is_sampled(context):
        return NO_SPAN
    is_progress = _PROGRESS in payload[:64]
    if is_progress and ((_state.sample < 1 and random.random() >= _state.sample) or not _has_room()):
        return NO_SPAN
    about = {"run": test_id, "type": "progress" if is_progress else None}
    return begin("store", context, "producer", attributes=about)


def received(traceparent: bytes | None, test_id: str, seq: int, stored_ms: int) -> Span | None:
    """An event that somebody has marked has come to this edge. Returns the span that ends with its first send to
    viewers; None when its trace is not recorded."""
    context = parsed(traceparent)
    if not on or not is_sampled(context) or not _has_room():
        return None
    about: Attributes = {"run": test_id, "seq": seq}
    came = begin("receive", context, "consumer", since_ms=stored_ms, attributes=about)
    came.end()
    return begin("first send", came.traceparent, attributes=about)


def _has_room() -> bool:
    now = time.monotonic()
    _state.tokens = min(_EVENTS_PER_S, _state.tokens + (now - _state.filled_at) * _EVENTS_PER_S)
    _state.filled_at = now
    if _state.tokens < 1:
        return False
    _state.tokens -= 1
    return True
