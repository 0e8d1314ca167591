"""The Python API, and the command `testcast`.

    from testcast import TestRun, list_runs, submit, watch

`TestRun` publishes a run of your own agent to the broker, `HttpRun` through an edge. `submit`, `watch`, `list_runs`,
`get_run` and `cancel_run` use an edge, `tail` the broker.
`testcast.sync` has the same names for code without asyncio.
"""

from __future__ import annotations

from importlib import import_module

from testcast.own_packages import claim

TYPE_CHECKING = False  # `typing` is not imported: in `python -m testcast` the current directory still comes first here
if TYPE_CHECKING:
    from agent_worker.publish.run import RunStatistics, TestRun
    from broker.contract.errors import (
        AlreadyEnded,
        BadInput,
        BrokerRefused,
        BrokerUnavailable,
        Conflict,
        Fenced,
        InvalidSetting,
        InvalidTestId,
        KeyReused,
        LoginRefused,
        MalformedEvent,
        NoAnswer,
        NotEnded,
        NotFound,
        NotPermitted,
        NotResolved,
        NotThere,
        Pinned,
        QueueFull,
        ServerNotStarted,
        StorageFull,
        TestcastError,
        TooManyPins,
        WrongLastSequence,
    )
    from broker.contract.snapshot import Snapshot
    from testcast.client.broker_watch import BrokerWatch, tail
    from testcast.client.errors import ConnectionLost, EdgeRefused
    from testcast.client.events import Event, Reset, State, Unreadable
    from testcast.client.http_run import HttpRun
    from testcast.client.rpc import cancel_run, get_run, list_runs, submit
    from testcast.client.watch import Watch, WatchStatistics, watch

_HOMES = {
    "agent_worker.publish.run": ("RunStatistics", "TestRun"),
    "broker.contract.errors": (
        *("AlreadyEnded", "BadInput", "BrokerRefused", "BrokerUnavailable", "Conflict", "Fenced", "InvalidSetting"),
        *("KeyReused", "NotEnded", "NotResolved", "Pinned", "TooManyPins"),
        *("InvalidTestId", "MalformedEvent", "NotFound", "QueueFull", "ServerNotStarted", "TestcastError"),
        *("LoginRefused", "NoAnswer", "NotPermitted", "NotThere", "StorageFull", "WrongLastSequence"),
    ),
    "broker.contract.snapshot": ("Snapshot",),
    "testcast.client.broker_watch": ("BrokerWatch", "tail"),
    "testcast.client.errors": ("ConnectionLost", "EdgeRefused"),
    "testcast.client.events": ("Event", "Reset", "State", "Unreadable"),
    "testcast.client.http_run": ("HttpRun",),
    "testcast.client.rpc": ("cancel_run", "get_run", "list_runs", "submit"),
    "testcast.client.watch": ("Watch", "WatchStatistics", "watch"),
}

__all__ = [
    "AlreadyEnded",
    "BadInput",
    "BrokerRefused",
    "BrokerUnavailable",
    "BrokerWatch",
    "Conflict",
    "ConnectionLost",
    "EdgeRefused",
    "Event",
    "Fenced",
    "HttpRun",
    "InvalidSetting",
    "InvalidTestId",
    "KeyReused",
    "LoginRefused",
    "MalformedEvent",
    "NoAnswer",
    "NotEnded",
    "NotFound",
    "NotPermitted",
    "NotResolved",
    "NotThere",
    "Pinned",
    "QueueFull",
    "Reset",
    "RunStatistics",
    "ServerNotStarted",
    "Snapshot",
    "State",
    "StorageFull",
    "TestRun",
    "TestcastError",
    "TooManyPins",
    "Unreadable",
    "Watch",
    "WatchStatistics",
    "WrongLastSequence",
    "cancel_run",
    "get_run",
    "list_runs",
    "submit",
    "tail",
    "watch",
]

claim()

if not TYPE_CHECKING:  # a type checker would take every name for one of the module

    def __getattr__(name):
        """Imports a name when it is first used, so that the command starts in a fifth of the time."""
        for home, names in _HOMES.items():
            if name in names:
                return getattr(import_module(home), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
