"""What a check of the doctor found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check.

    Attributes:
        name: what was checked, in a word or two.
        ok: whether testcast can run with it as it is.
        detail: what was found: a version, a path, a number, or what is wrong.
        remedy: what to do; empty when `ok`.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
