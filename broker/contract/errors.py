"""What can go wrong, as one tree. Each error says who is at fault and carries what is needed to act on it."""

from __future__ import annotations


class TestcastError(Exception):
    """Base of all errors of ours.

    Attributes:
        code: short machine-readable name, stable; goes over the wire as `code`.
        message: one sentence for a person: what is wrong and, where it helps, what to do.
    """

    __test__ = False  # the name begins with "Test": pytest would try to collect it
    code = "internal"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code

    @property
    def public_message(self) -> str:
        """What a viewer of an edge may read: no address of the broker, no credential, none of the broker's words."""
        return self.message


class BadInput(TestcastError):
    """The caller's fault: nothing was changed, and the same call will fail again."""

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
    """A message on `test.<id>.events` that is not an event (DESIGN 3): counted, logged, never forwarded."""

    code = "malformed_event"


class InvalidSetting(BadInput):
    """An environment variable or option with a value that makes no sense; the message names it."""

    code = "invalid_setting"


class NotFound(TestcastError):
    """No event of such a test is stored."""

    code = "not_found"

    def __init__(self, test_id: str) -> None:
        super().__init__(f"there is no test {test_id}")
        self.test_id = test_id


class AlreadyEnded(TestcastError):
    """The run has a terminal event already; nothing more can be done to it."""

    code = "already_ended"


class QueueFull(TestcastError):
    """The job queue has reached `max_msgs`: the submitter has to come back later."""

    code = "queue_full"


class BrokerUnavailable(TestcastError):
    """The broker did not answer, or has no leader at the moment. Trying again later is sound."""

    code = "broker_unavailable"

    @property
    def public_message(self) -> str:
        """The message names servers and subjects, which are for logs and operators."""
        return "the broker is not available at the moment: try again in a few seconds"


class BrokerRefused(TestcastError):
    """The broker answered with an error of its own.

    Attributes:
        err_code: JetStream's error number, 0 when it named none.
    """

    code = "broker_refused"

    def __init__(self, message: str, err_code: int = 0) -> None:
        super().__init__(message)
        self.err_code = err_code

    @property
    def public_message(self) -> str:
        """The message carries the broker's own words, which are for logs and operators."""
        return f"the broker refused the request (JetStream error {self.err_code})"


class WrongLastSequence(BrokerRefused):
    """A publish named an expected last sequence that is no longer the last (10071, in a cluster 10164).

    Attributes:
        last: the last sequence as the broker names it, or None where it did not.
    """

    def __init__(self, message: str, err_code: int, last: int | None) -> None:
        super().__init__(message, err_code)
        self.last = last


class Fenced(TestcastError):
    """This writer may not write to the run any more: a higher attempt owns it, or it has ended (DESIGN 3, Writers).

    Attributes:
        reason: "attempt" (another worker took over) or "ended" (a terminal event is stored).
    """

    code = "fenced"

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class ServerNotStarted(TestcastError):
    """The embedded nats-server could not be started; the message says why and what to do."""

    code = "server_not_started"
