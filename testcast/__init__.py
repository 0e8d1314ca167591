"""The Python API, and the command `testcast`.

    from testcast import TestRun, submit, watch

`TestRun` publishes a run of your own agent to the broker. `submit` and `watch` use an edge.
"""

from __future__ import annotations

from importlib import import_module

from testcast.own_packages import claim

TYPE_CHECKING = False  # `typing` is not imported: in `python -m testcast` the current directory still comes first here
if TYPE_CHECKING:
    from typing import Any

    from agent_worker.publish.run import TestRun
    from broker.contract.errors import BadInput, NotFound, TestcastError
    from testcast.client.errors import ConnectionLost, EdgeRefused
    from testcast.client.events import Event, Reset, State
    from testcast.client.rpc import submit
    from testcast.client.watch import Watch, watch

_HOMES = {
    "TestRun": "agent_worker.publish.run",
    "BadInput": "broker.contract.errors",
    "NotFound": "broker.contract.errors",
    "TestcastError": "broker.contract.errors",
    "Watch": "testcast.client.watch",
    "submit": "testcast.client.rpc",
    "watch": "testcast.client.watch",
    "ConnectionLost": "testcast.client.errors",
    "EdgeRefused": "testcast.client.errors",
    "Event": "testcast.client.events",
    "Reset": "testcast.client.events",
    "State": "testcast.client.events",
}

__all__ = [
    "BadInput",
    "ConnectionLost",
    "EdgeRefused",
    "Event",
    "NotFound",
    "Reset",
    "State",
    "TestRun",
    "TestcastError",
    "Watch",
    "submit",
    "watch",
]

claim()


def __getattr__(name: str) -> Any:
    """Imports a name when it is first used, so that the command starts in a fifth of the time."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
