"""Reads a page of metrics, of whoever wrote it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families


class Sample(NamedTuple):
    """One value of a page."""

    labels: Mapping[str, str]
    value: float


def samples_of(page: str) -> dict[str, list[Sample]]:
    """The values of a page in the text format of Prometheus, by the name that stands on its lines.

    Raises:
        ValueError: it is not in that format.
    """
    found: dict[str, list[Sample]] = {}
    try:
        for family in text_string_to_metric_families(page):
            for each in family.samples:
                found.setdefault(each.name, []).append(Sample(dict(each.labels), float(each.value)))
    except (ValueError, LookupError, TypeError, AttributeError) as error:  # the parser does not say what it raises
        raise ValueError(f"not in the text format of Prometheus: {error}") from None
    return found
