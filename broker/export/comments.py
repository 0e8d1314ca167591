"""Leaves comments and indentation out of the dashboard's files: they are for readers of the sources alone."""

from __future__ import annotations

import re
from typing import Final

_WHOLE_LINES: Final = re.compile(rb"^[ \t]*(?:/\*(?:[^*]|\*(?!/))*+\*/|//[^\n]*)[ \t]*$", re.MULTILINE)
"""Comments with nothing else on their lines, which are nearly all. No text of the sources has a line like that."""
_TYPES: Final = re.compile(rb"/\*\* @type \{[^\n]*?\} \*/ ?")
"""Casts within a line, for the type checker. No text of the sources has one."""
_ENDS: Final = re.compile(rb"(?<=[;,{}()\[\]]) +// [^\n\"'`]*$", re.MULTILINE)
"""Remarks at the end of a line. No text is open there: its end would follow on the same line."""
_INDENTATION: Final = re.compile(rb"^[ \t]+", re.MULTILINE)
"""No text of the sources has several lines."""


def without_comments(source: bytes) -> bytes:
    """A script or a style sheet without comments and indentation. Every line keeps its number, for error messages."""
    lines = _WHOLE_LINES.sub(lambda found: b"\n" * found[0].count(b"\n"), source)
    return _INDENTATION.sub(b"", _ENDS.sub(b"", _TYPES.sub(b"", lines)))
