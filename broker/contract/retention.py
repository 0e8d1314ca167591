"""How long runs are kept, by project, and which of them are due. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from broker.contract.access import PROJECT
from broker.contract.errors import BadInput
from broker.contract.projects import UNKNOWN
from broker.contract.snapshot import Snapshot

DAY_S: Final = 24 * 3600
OTHERS: Final = "*"
"""Stands for every project that is not named."""
LONGEST_S: Final = 100 * 365 * DAY_S
_UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": DAY_S, "w": 7 * DAY_S}
_AGE: Final = re.compile(r"([0-9]{1,9})([smhdw])", re.ASCII)
_FOR_EVER: Final = ("0", "forever")
_MAX_NAMED: Final = 1000


class Retention(NamedTuple):
    """How long a run is kept after its last event, seconds; 0: for ever."""

    others_s: float | None
    """Of the projects that are not named. None: as the stream of events says (`where`), and for ever until it has."""
    by_project: Mapping[str, float] = MappingProxyType({})

    def where(self, stream_age_s: float) -> Retention:
        """What holds where the stream of events names an age for what nobody else names."""
        return self if self.others_s is not None else Retention(stream_age_s, self.by_project)

    def age_s(self, project: str) -> float:
        """How long a project's runs are kept. A run whose project is not known is kept as long as any could be."""
        if project == UNKNOWN:
            return 0.0 if 0 in self.ages else max(self.ages)
        return self.by_project.get(project, self.others_s or 0.0)

    @property
    def ages(self) -> tuple[float, ...]:
        """All ages that there are."""
        return (self.others_s or 0.0, *self.by_project.values())

    @property
    def leftovers_s(self) -> float:
        """How long something is kept that is no run: pictures without events, events that nobody can read, probes.
        Never 0."""
        return max(self.ages) or 7 * DAY_S


def parse_retention(text: str) -> Retention:
    """Returns what `default=7d,nightly=30d,*=7d` says.

    Raises:
        BadInput: an entry is not `project=age`, or a project is named twice.
    """
    ages: dict[str, float] = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        name, equals, age = map(str.strip, entry.partition("="))
        if not equals or (name != OTHERS and PROJECT.fullmatch(name) is None):
            raise BadInput(f"{entry[:80]!r} is not of the form project=age, as in nightly=30d or *=7d")
        if name in ages:
            raise BadInput(f"the project {name!r} is named twice")
        ages[name] = _parse_age(age)
    if len(ages) > _MAX_NAMED:
        raise BadInput(f"{len(ages)} projects are named; at most {_MAX_NAMED} can be")
    others_s = ages.pop(OTHERS, None)
    return Retention(others_s, MappingProxyType(ages))


def _parse_age(text: str) -> float:
    if text in _FOR_EVER:
        return 0.0
    found = _AGE.fullmatch(text)
    if found is None:
        raise BadInput(f"{text[:80]!r} is no age: expected one like 12h, 7d or 4w, or 0 for ever")
    age_s = int(found[1]) * _UNITS_S[found[2]]
    if not 1 <= age_s <= LONGEST_S:
        raise BadInput(f"{text!r} is not between 1s and {LONGEST_S // DAY_S}d; 0 keeps for ever")
    return float(age_s)


def is_over(age_s: float, since_ms: int, now_ms: int | None) -> bool:
    """Whether so much time has passed. An age of 0, and a time that is not known, never are."""
    return age_s > 0 and since_ms > 0 and now_ms is not None and now_ms - since_ms > age_s * 1000


def is_due(run: Snapshot, age_s: float, now_ms: int | None) -> bool:
    """Whether a run may be deleted for its age: it has ended, and that long ago.

    Args:
        age_s: of its project.
        now_ms: the broker's clock, by which the run's times are; None: not known.
    """
    return run.ended and is_over(age_s, max(run.updated_at, run.finished_at or 0, run.created_at), now_ms)


def due(
    runs: Iterable[Snapshot], retention: Retention, now_ms: int | None, stays: Callable[[str], bool]
) -> list[Snapshot]:
    """Returns the runs that may be deleted for their age, the oldest first.

    A snapshot without an epoch has its times from publishers, and says nothing about age.

    Args:
        now_ms: the broker's clock; None: not known, and no run is due.
        stays: whether the run with a test id stays whatever its age, as pinned and watched ones.
    """
    found = [
        run
        for run in runs
        if run.epoch is not None and is_due(run, retention.age_s(run.project), now_ms) and not stays(run.test_id)
    ]
    return sorted(found, key=lambda each: (each.updated_at, each.test_id))
