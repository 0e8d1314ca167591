"""What people type and import: the command `testcast`, and the Python API.

    from testcast import TestRun, watch, submit

`TestRun` publishes a run of an agent of one's own to the broker; `submit` and `watch` talk to an edge.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent_worker.publish.run import TestRun
    from broker.contract.errors import BadInput, NotFound, TestcastError
    from testcast.client.edge import Watch, submit, watch
    from testcast.client.errors import ConnectionLost, EdgeRefused
    from testcast.client.events import Event, Reset, State

_HOMES = {
    "TestRun": "agent_worker.publish.run",
    "BadInput": "broker.contract.errors",
    "NotFound": "broker.contract.errors",
    "TestcastError": "broker.contract.errors",
    "Watch": "testcast.client.edge",
    "submit": "testcast.client.edge",
    "watch": "testcast.client.edge",
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


def __getattr__(name: str) -> Any:
    """Imports what is asked for, when it is: the command starts in a fifth of the time."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
