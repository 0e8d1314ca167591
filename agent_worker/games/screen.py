"""What a game is shown on: a desktop's window, a phone that is held upright, a touch screen. Pure values."""

from __future__ import annotations

from typing import Final, NamedTuple

VIEWPORT: Final = (1280, 720)
"""16:9 like the dashboard's card; games made for desktops fit."""
PORTRAIT: Final = (412, 732)
"""9:16, the width of most phones of today."""


class Screen(NamedTuple):
    """What a page is shown on."""

    touch: bool = False
    """It is touched, as a phone is."""
    portrait: bool = False
    """It is held upright."""

    @property
    def viewport(self) -> tuple[int, int]:
        """Width and height of the page's part of it, in pixels."""
        return PORTRAIT if self.portrait else VIEWPORT

    def as_json(self) -> dict[str, object]:
        """As fields of a finding: only what is not usual."""
        return {name: True for name, value in self._asdict().items() if value}


DESKTOP: Final = Screen()
UPRIGHT: Final = Screen(touch=True, portrait=True)
"""A phone."""
