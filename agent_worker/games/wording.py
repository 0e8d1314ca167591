"""How gestures and parts of a picture are named in the feed. Pure."""

from __future__ import annotations

from agent_worker.games.actions import Action


def doing(action: Action) -> str:
    """A gesture as the subject of a sentence."""
    return {"keys": f"Pressing {action.name}", "click": f"A {action.name}"}.get(action.kind, action.name.capitalize())


def percent(part: float) -> str:
    """A part of the picture as a percentage, with more digits where it is small."""
    if part >= 0.1:
        return f"{part:.0%}"
    return f"{part:.1%}" if part >= 0.001 or part == 0 else f"{part:.2%}"
