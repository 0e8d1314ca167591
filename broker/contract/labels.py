"""Labels: names and values that a submitter gives a run, such as `commit=abc`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from broker.contract.errors import BadInput

MAX_LABELS: Final = 16
MAX_VALUE_CHARS: Final = 100
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_./-]{0,62}", re.ASCII)


def check_labels(given: Mapping[str, str]) -> dict[str, str]:
    """Returns the labels, sorted by name.

    Raises:
        BadInput: there are more than `MAX_LABELS`, or one has a name or value that is not allowed.
    """
    if len(given) > MAX_LABELS:
        raise BadInput(f"labels: at most {MAX_LABELS}, got {len(given)}", code="invalid_label")
    for name, value in given.items():
        if not _is_name(name):
            raise BadInput(
                f"labels: the name {name[:80]!r} is not 1 to 63 of a-z, 0-9, _ . / and -", code="invalid_label"
            )
        if not _is_value(value):
            allowed = f"1 to {MAX_VALUE_CHARS} printable characters without spaces around them"
            raise BadInput(f"labels: the value of {name!r} is not {allowed}", code="invalid_label")
    return dict(sorted(given.items()))


def parse_label(text: str) -> tuple[str, str]:
    """Returns the name and value of `name=value`, without spaces around them.

    Raises:
        BadInput: it is not of that form, or a part is not allowed.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise BadInput(f"label: {text[:80]!r} is not of the form name=value", code="invalid_label")
    return next(iter(check_labels({name.strip(): value.strip()}).items()))


def parse_labels(texts: Iterable[str]) -> dict[str, str]:
    """Returns the labels in a list of `name=value`; of two with one name the last counts.

    Raises:
        BadInput: as `parse_label` and `check_labels`.
    """
    return check_labels(dict(map(parse_label, texts)))


def as_texts(labels: Mapping[str, str]) -> list[str]:
    """The labels, each as `name=value`."""
    return [f"{name}={value}" for name, value in labels.items()]


def parse_wanted(texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Returns the names and values in a filter: a list of `name=value`, all of which a run must have.

    Raises:
        BadInput: there are more than `MAX_LABELS`, or one is not of that form.
    """
    given = list(texts)
    if len(given) > MAX_LABELS:
        raise BadInput(f"labels: at most {MAX_LABELS}, got {len(given)}", code="invalid_label")
    return tuple(sorted({parse_label(each) for each in given}))


def has_labels(labels: Mapping[str, str] | None, wanted: Iterable[tuple[str, str]]) -> bool:
    """Whether a run's labels hold each of these."""
    return labels is not None and all(labels.get(name) == value for name, value in wanted)


def labels_of(given: Any) -> dict[str, str] | None:
    """The labels that the `data.labels` of a run's first event names; what is not allowed is left out. None: none."""
    if not isinstance(given, dict):
        return None
    good = {name: value for name, value in given.items() if _is_name(name) and _is_value(value)}
    return dict(sorted(good.items())[:MAX_LABELS]) or None


def _is_name(given: object) -> bool:
    return isinstance(given, str) and _NAME.fullmatch(given) is not None


def _is_value(given: object) -> bool:
    if not isinstance(given, str) or given != given.strip():
        return False
    return 0 < len(given) <= MAX_VALUE_CHARS and given.isprintable()
