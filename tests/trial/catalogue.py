"""The games of the trial as values, read from `games/*.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.trial import breaks

HERE: Final = Path(__file__).parent / "games"
UNCHANGED: Final = "unchanged"
"""The kind of a game into which no bug was put."""
BUGS: Final[Mapping[str, frozenset[str]]] = {
    "error": frozenset({"error", "crash"}),
    "freeze": frozenset({"freeze", "crash"}),
    "deadkey": frozenset({"deadkey"}),
    "once": frozenset({"once"}),
    "noscripts": frozenset({"noscripts", "asset"}),
    "blank": frozenset({"blank"}),
    "leak": frozenset({"heap"}),
    "softlock": frozenset({"softlock"}),
}
"""The eight kinds of bug, and the kinds of finding by which each is told."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package of a registry. Files below `root` are served at `at`.

    Attributes:
        registry: `npm` or `pypi`.
        integrity: As npm writes it: `sha512-` or `sha256-`, then base64 of the archive's digest.
    """

    registry: str
    name: str
    version: str
    integrity: str
    root: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True)
class Patch:
    """Replaces a text that occurs once in a served file."""

    file: str
    find: str
    replace: str


@dataclass(frozen=True, slots=True)
class Control:
    """Something that the game documents, or its source shows, as a control.

    Attributes:
        gestures: Patterns of the gestures that are this control, one of which is enough; `matching.py` reads them.
        counts: It is documented: missing it counts against recall. Otherwise naming it is right, and not naming it too.
    """

    name: str
    gestures: tuple[str, ...]
    situations: tuple[str, ...] = ()
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Bug:
    """A bug that is put into a game by changing what is served, or the reason why its kind makes no sense there."""

    kind: str
    patches: tuple[Patch, ...] = ()
    missing: tuple[str, ...] = ()
    """Paths that are not found."""
    script: str = ""
    """Runs before the page's own."""
    style: str = ""
    says: str = ""
    """A line of text that is put onto the page."""
    finds: frozenset[str] = frozenset()
    """The kinds of finding by which it is told."""
    words: str = ""
    """What the finding that tells it says, as a pattern; without it the kind alone decides."""
    absent: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """A finding on the unchanged game that a person has confirmed."""

    kind: str
    words: str
    why: str


@dataclass(frozen=True, slots=True)
class Game:
    """A game that somebody else wrote."""

    name: str
    title: str
    made_of: tuple[str, ...]
    played_with: tuple[str, ...]
    entry: str
    starts: str
    score: str
    packages: tuple[Package, ...]
    files: Mapping[str, str]
    patches: tuple[Patch, ...]
    controls: tuple[Control, ...]
    bugs: Mapping[str, Bug]
    known: tuple[Known, ...] = ()

    @property
    def kinds(self) -> list[str]:
        """`unchanged`, and the kinds of bug that exist in this game."""
        return [UNCHANGED, *(kind for kind in BUGS if not self.bugs[kind].absent)]


def read_game(name: str, text: str) -> Game:
    """The game that a file of `games/` describes.

    Raises:
        ValueError: It is not complete; the message names the file and what is wrong.
    """
    try:
        return _game(name, tomllib.loads(text))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{name}.toml: {error!r}") from None


def games(names: Sequence[str] = ()) -> list[Game]:
    """Those named, or all, in the order of their names.

    Raises:
        ValueError: There is no game of that name, or its file is wrong.
    """
    files = {path.stem: path for path in sorted(HERE.glob("*.toml"))}
    if unknown := [name for name in names if name not in files]:
        raise ValueError(f"no game named {', '.join(unknown)}; there are {', '.join(files)}")
    return [read_game(name, files[name].read_text(encoding="utf-8")) for name in names or files]


def _game(name: str, given: Mapping[str, Any]) -> Game:
    bugs = {kind: _bug(kind, given["bug"][kind]) for kind in BUGS}
    if more := given["bug"].keys() - BUGS.keys():
        raise ValueError(f"no kinds of bug: {', '.join(sorted(more))}")
    return Game(
        name=name,
        title=given["title"],
        made_of=tuple(given["made_of"]),
        played_with=tuple(given["played_with"]),
        entry=given["entry"],
        starts=given["starts"],
        score=given["score"],
        packages=tuple(Package(**each) for each in given["package"]),
        files=dict(given.get("files", {})),
        patches=_patches(given),
        controls=tuple(_control(each) for each in given["control"]),
        bugs=bugs,
        known=tuple(Known(**each) for each in given.get("known", ())),
    )


def _patches(given: Mapping[str, Any]) -> tuple[Patch, ...]:
    return tuple(Patch(**each) for each in given.get("patch", ()))


def _control(given: Mapping[str, Any]) -> Control:
    gestures, situations = tuple(given["gestures"]), tuple(given.get("situations", ()))
    return Control(given["name"], gestures, situations, given.get("counts", True))


def _bug(kind: str, given: Mapping[str, Any]) -> Bug:
    bug = Bug(
        kind,
        patches=_patches(given),
        missing=tuple(given.get("missing", ())),
        script=_script(kind, given),
        style=given.get("style", ""),
        says=given.get("says", ""),
        finds=frozenset(given.get("finds", BUGS[kind])),
        words=given.get("words", ""),
        absent=given.get("absent", ""),
    )
    if not bug.absent and not (bug.patches or bug.missing or bug.script or bug.style):
        raise ValueError(f"bug {kind} changes nothing")
    return bug


def _script(kind: str, given: Mapping[str, Any]) -> str:
    """The script of a bug that is made the same way in every game; empty for one that has changes of its own."""
    if "script" in given:
        return str(given["script"])
    if "key" in given:
        return (breaks.deaf_to if kind == "deadkey" else breaks.hears_once)(given["key"])
    if "after" in given:
        return (breaks.freezes_after if kind == "freeze" else breaks.locks_after)(given["after"])
    if "kilobytes_per_s" in given:
        return breaks.leaks(given["kilobytes_per_s"])
    return ""
