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


def family_of(action: Action) -> str:
    """The gestures that it is tried with, as the feed calls them."""
    if action.kind != "keys":
        return "clicking" if action.kind in ("click", "tap", "rightclick") else "dragging and moving the pointer"
    if action.name.startswith("Arrow"):
        return "arrow keys"
    if action.name in tuple("WASD"):
        return "WASD movement"
    if action.name in ("Space", "Enter"):
        return "Space and Enter"
    return "digits" if action.name.isdigit() else "letters" if len(action.name) == 1 else "other keys"
