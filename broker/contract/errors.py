"""The tree of errors. Each one says who is at fault and carries the data needed to act on it. Pure."""

from __future__ import annotations


class TestcastError(Exception):
    """Base of all errors of testcast.

    Attributes:
        code: short, stable, machine-readable name; sent over the wire as `code`.
        message: one sentence for a person: what is wrong and, where it helps, what to do.
    """

    __test__ = False  # pytest would collect it for its name
    code = "internal"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code

    @property
    def details(self) -> dict[str, object] | None:
        """Figures to act on, for programs: sent over the wire as `details`."""
        return None

    @property
    def public_message(self) -> str:
        """The message for viewers of an edge: without the broker's address, credentials or own words."""
        return self.message


class BadInput(TestcastError):
    """The caller's fault. Nothing was changed, and the same call will fail again."""

    code = "bad_input"


class InvalidTestId(BadInput):
    """A test id that is not a UUID in canonical lower case."""

    code = "invalid_test_id"

    def __init__(self, given: object) -> None:
        shown = repr(given) if isinstance(given, str | int | float) else type(given).__name__
        super().__init__(
            f"{shown if len(shown) <= 80 else shown[:77] + '...'} is not a test id: expected a UUID in lower case, "
            "like 4f9c2d3e-8a51-4c0b-9d57-2f1f6f0a7b11"
        )


class MalformedEvent(BadInput):
    """A message on `test.<id>.events` that is not an event. It is counted and logged, and never forwarded.

    Attributes:
        reason: what is wrong with it, in words that are the same for every such message: what it is counted under.
    """

    code = "malformed_event"

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class InvalidSetting(BadInput):
    """An environment variable or option has a value that makes no sense; the message names it."""

    code = "invalid_setting"


class NotFound(TestcastError):
    """No event is stored under this test id.

    Attributes:
        test_id: the id.
    """

    code = "not_found"

    def __init__(self, test_id: str) -> None:
        super().__init__(f"there is no test {test_id}")
        self.test_id = test_id


class AlreadyEnded(TestcastError):
    """The run has a terminal event; it cannot be changed any more."""

    code = "already_ended"


class NotEnded(TestcastError):
    """The run has not ended yet, and only what has ended can be deleted. Cancel it first."""

    code = "not_ended"


class Pinned(TestcastError):
    """The run is kept for good. Unpin it first."""

    code = "pinned"


class TooManyPins(TestcastError):
    """The project has as many pinned runs as it may have. Unpin one first."""

    code = "too_many_pins"


class Conflict(TestcastError):
    """Somebody else has written to the run since the position that the publisher named. Nothing more was stored.

    Attributes:
        head: sequence of the run's newest event.
    """

    code = "conflict"

    def __init__(self, message: str, head: int) -> None:
        super().__init__(message)
        self.head = head

    @property
    def details(self) -> dict[str, object] | None:
        """The head."""
        return {"head": self.head}


class KeyReused(TestcastError):
    """The idempotency key was used for other events. Nothing was stored."""

    code = "key_reused"


class QueueFull(TestcastError):
    """The job queue is full. Submit again later."""

    code = "queue_full"


class NotResolved(TestcastError):
    """A host name could not be looked up, so that it cannot be said whether it may be opened. Try again later."""

    code = "name_not_resolved"


class BrokerUnavailable(TestcastError):
    """The broker did not answer, or has no leader at the moment. Try again later."""

    code = "broker_unavailable"

    @property
    def public_message(self) -> str:
        """The message without server names and subjects, which are for logs and operators."""
        return "the broker is not available at the moment: try again in a few seconds"


class NoAnswer(BrokerUnavailable):
    """The connection is up, and no reply came in time."""


class StorageFull(BrokerUnavailable):
    """The broker answers and cannot store anything: its disk is full, or a limit of its storage is reached."""

    code = "storage_full"

    @property
    def public_message(self) -> str:
        """The message without server names and subjects, which are for logs and operators."""
        return "the broker cannot store anything at the moment: its disk is full, or its storage limit is reached"


class NotThere(BrokerUnavailable):
    """A stream, bucket or consumer is not there: it was deleted, or never made.

    Attributes:
        certain: the broker says so. Otherwise nobody answers, which may also mean that there is no leader right now.
    """

    def __init__(self, message: str, *, certain: bool) -> None:
        super().__init__(message)
        self.certain = certain


class LoginRefused(BrokerUnavailable):
    """The broker does not accept this client: its user, password, token, key or certificate."""


class BrokerRefused(TestcastError):
    """The broker answered with an error.

    Attributes:
        err_code: JetStream's error number, 0 when there is none.
    """

    code = "broker_refused"

    def __init__(self, message: str, err_code: int = 0) -> None:
        super().__init__(message)
        self.err_code = err_code

    @property
    def public_message(self) -> str:
        """The message without the broker's own words, which are for logs and operators."""
        return f"the broker refused the request (JetStream error {self.err_code})"


class NotPermitted(BrokerRefused):
    """The broker does not let this user publish on a subject. An operator can permit it."""

    @property
    def public_message(self) -> str:
        """The message without the subject, which is for logs and operators."""
        return "the broker does not permit this request to the user that this server connects as"


class WrongLastSequence(BrokerRefused):
    """A publish expected a last sequence that is not the last one (10071; in a cluster also 10164).

    Attributes:
        last: the last sequence as the broker names it, None where it names none.
    """

    def __init__(self, message: str, err_code: int, last: int | None) -> None:
        super().__init__(message, err_code)
        self.last = last


class Fenced(TestcastError):
    """This writer may not write to the run any more: another attempt owns it, or it has ended (PROTOCOL.md, Writers).

    Attributes:
        reason: "attempt" (another worker took over) or "ended" (a terminal event is stored).
    """

    code = "fenced"

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ServerNotStarted(TestcastError):
    """The embedded nats-server did not start; the message says why and what to do."""

    code = "server_not_started"
