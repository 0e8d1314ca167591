"""The first event of a run that an agent begins by itself: it fixes the run's project and labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker.clock import now_ms
from broker.contract import projects
from broker.contract.errors import BadInput
from broker.contract.events import Event
from broker.contract.labels import check_labels


def first_event(title: str, game_url: str, project: str, labels: Mapping[str, str] | None) -> Event:
    """Returns the event.

    Raises:
        BadInput: the title is empty, or the project or a label is not valid.
    """
    if not title.strip():
        raise BadInput("title: expected a name for the run")
    data: dict[str, Any] = {"title": title, "gameUrl": game_url, **named(project)}
    if labels:
        data["labels"] = check_labels(labels)
    return Event(type="status", status="queued", message=f"Queued: {title}", timestamp=now_ms(), data=data)


def named(project: str) -> dict[str, str]:
    """What events say of a project: nothing of the default one.

    Raises:
        BadInput: it is no project's name.
    """
    return {} if projects.parse_project(project) == projects.DEFAULT else {"project": project}
