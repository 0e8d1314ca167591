"""The one decision about access: what a principal may do with a run. Pure."""

from __future__ import annotations

from typing import NamedTuple

from broker.contract.errors import NotFound
from ws_edge.access.principal import AccessDenied, Action, Principal


class Run(NamedTuple):
    """The run that a request is about."""

    test_id: str
    project: str | None
    """None: there is no such run."""


def authorize(principal: Principal, action: Action, run: Run | None) -> None:
    """Returns when the principal may do it.

    Args:
        run: what the action is about; None where it is about no run.

    Raises:
        NotFound: no such run exists for this principal. A run of a foreign project and a missing one are alike here.
        AccessDenied: the principal may not do this.
    """
    if run is not None and principal.projects is not None and run.project not in principal.projects:
        if run.test_id not in principal.shared_runs:
            raise NotFound(run.test_id)
        if action is Action.WATCH:
            return
        raise AccessDenied(f"a share link does not permit {action.value!r}")
    if action not in principal.actions:
        raise AccessDenied(f"{principal.subject} may not {action.value!r}" + (" this test" if run is not None else ""))
