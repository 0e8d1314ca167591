"""Carries gestures out on a page of Chromium, each in two halves: what begins, and what ends. Knows no deadline.

What happens to a page from outside (its window loses the focus, is hidden, has no network) is told to the page by its
own document: a page in an automated Chromium always has the focus and is always visible.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from playwright.async_api import CDPSession
from playwright.async_api import Page as PlaywrightPage

from agent_worker.games.actions import Action, Kind

_OUTSIDE: Final = Path(__file__).with_name("outside.js").read_text()
_ONLINE: Final = {"offline": False, "latency": 0.01, "downloadThroughput": -1, "uploadThroughput": -1}
"""Latency in ms; with 0 Chromium falls back to what the machine has. It delays nothing."""
LASTING: Final = frozenset(("resize", "offline", "online"))
"""Gestures that change the window or its network, and not the document alone."""
_BY_FINGER: Final[Mapping[Kind, Kind]] = {"click": "tap", "drag": "swipe"}
_DRAG_STEPS: Final = 5
_MOVE_STEPS: Final = 3


class Gestures:
    """The hands on one page.

    Args:
        touch: It has a touch screen; else the mouse does what a finger would.

    Raises:
        playwright.async_api.Error: from `begin` and `end`: the page is gone.
    """

    def __init__(
        self,
        page: PlaywrightPage,
        cdp: CDPSession,
        *,
        touch: bool = False,
    ) -> None:
        self._page = page
        self._cdp = cdp
        self._touch = touch
        self.happen: Callable[[str], Awaitable[Any]] = self._tell
        """Tells the page what happens to it from outside, a kind of `actions.Outside`: here by its document."""
        size = page.viewport_size
        assert size is not None
        self.viewport = size["width"], size["height"]
        """Width and height in pixels; `resize` changes it for as long as it lasts."""
        self._held: list[Action] = []
        self._place = (0.0, 0.0)
        """Where the pointer is, in pixels."""

    def _meant(self, action: Action) -> Action:
        """A touch screen has no mouse: a finger does what a click or a drag would."""
        kind = _BY_FINGER.get(action.kind) if self._touch else None
        return action if kind is None else replace(action, kind=kind)

    async def begin(self, action: Action) -> None:
        """Does what `action` says, and holds its keys, button or finger until `end`."""
        self._held.append(action)
        action = self._meant(action)
        for key in action.keys:
            await self._page.keyboard.down(key)
        match action.kind:
            case "click" | "drag" | "move" | "rightclick" | "doubleclick":
                await self._press(action)
            case "tap" | "swipe" | "hold":
                await (self._put_finger(action) if self._touch else self._press(action))
            case "wheel":
                await self._turn(action)
            case "resize":
                await self._resize(action.to_x, action.to_y)
            case "offline":
                await self._page.context.set_offline(True)
            case "online":
                await self._page.context.set_offline(False)
                await self.connect()
            case "blur" | "focus" | "hide" | "show":
                await self.happen(action.kind)

    async def end(self, action: Action) -> None:
        """Releases what `begin` holds."""
        if action in self._held:
            self._held.remove(action)
        action = self._meant(action)
        for key in reversed(action.keys):
            await self._page.keyboard.up(key)
        match action.kind:
            case "click" | "drag" | "doubleclick":
                await self._page.mouse.up()
            case "rightclick":
                await self._page.mouse.up(button="right")
            case "tap" | "swipe" | "hold":
                await (self._finger("touchEnd") if self._touch else self._page.mouse.up())
            case "resize":
                await self._resize(1.0, 1.0)

    async def release(self) -> None:
        """Ends whatever is held; the pointer is where it is in a new page."""
        for action in tuple(self._held):
            await self.end(action)
        self._place = (0.0, 0.0)

    async def point(self, x: float, y: float) -> None:
        """Moves the pointer to a place in parts of the viewport, at once."""
        await self._move(x, y)

    async def connect(self) -> None:
        """Tells the page that it has a network: Chromium in a network namespace of its own believes the opposite."""
        await self._cdp.send("Network.overrideNetworkState", _ONLINE)

    def _pixels(self, x: float, y: float) -> tuple[float, float]:
        return x * self.viewport[0], y * self.viewport[1]

    async def _press(self, action: Action) -> None:
        mouse = self._page.mouse
        await self._move(action.x, action.y, _MOVE_STEPS if action.kind == "move" else 1)
        if action.kind == "move":
            return
        await mouse.down(button="right" if action.kind == "rightclick" else "left")
        if action.kind == "doubleclick":
            await mouse.up()
            await mouse.down(click_count=2)
        if action.kind in ("drag", "swipe"):
            await self._move(action.to_x, action.to_y, _DRAG_STEPS)

    async def _move(self, x: float, y: float, steps: int = 1) -> None:
        """Moves the pointer there, in steps from where it is: Playwright knows where it was in another document."""
        (from_x, from_y), (to_x, to_y) = self._place, self._pixels(x, y)
        for step in range(1, steps + 1):
            part = step / steps
            await self._page.mouse.move(from_x + (to_x - from_x) * part, from_y + (to_y - from_y) * part)
        self._place = to_x, to_y

    async def _put_finger(self, action: Action) -> None:
        await self._finger("touchStart", action.x, action.y)
        if action.kind == "swipe":
            for step in range(1, _DRAG_STEPS + 1):
                part = step / _DRAG_STEPS
                x, y = action.x + (action.to_x - action.x) * part, action.y + (action.to_y - action.y) * part
                await self._finger("touchMove", x, y)

    async def _finger(self, kind: str, *place: float) -> None:
        x, y = self._pixels(*place) if place else (0.0, 0.0)
        points = [{"x": x, "y": y, "id": 0}] if place else []
        await self._cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    async def _turn(self, action: Action) -> None:
        await self._move(action.x, action.y)
        await self._page.mouse.wheel(*self._pixels(action.to_x - action.x, action.to_y - action.y))

    async def _resize(self, width: float, height: float) -> None:
        whole = self.viewport
        await self._page.set_viewport_size({"width": round(whole[0] * width), "height": round(whole[1] * height)})

    async def _tell(self, kind: str) -> None:
        await self._page.evaluate(f"({_OUTSIDE})(window, {kind!r}, () => {{}})")
