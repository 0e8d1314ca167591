"""A run as one HTML file that needs no network: the run's own page, its events and its pictures. Pure.

The script that shows the page comes last. In a file that was cut off it is missing, and the file says so.
"""

from __future__ import annotations

import base64
import html
from collections.abc import AsyncGenerator
from typing import Any, Final, NamedTuple

import orjson

from broker.export.document import heading, unreadable_fields
from broker.export.source import Source

_HEAD: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8" />
<meta http-equiv="content-security-policy" content="{policy}" />
<meta name="viewport" content="width=device-width, initial-scale=1" />
<meta name="color-scheme" content="light dark" />
<meta name="referrer" content="no-referrer" />
<title>{title}</title>
<link rel="icon" href="{icon}" type="image/svg+xml" />
"""
_BODY: Final = """\
</head>
<body class="exported">
<header class="bar">
<span class="brand"><img src="{icon}" alt="" width="20" height="20" />testcast</span>
<div id="connection-status"></div>
</header>
<main id="main"><p class="nothing">This page needs JavaScript, and the whole file. If nothing else appears here, \
the file was cut off: export the run again.</p></main>
"""


class Assets(NamedTuple):
    """What every exported page has in common."""

    style: bytes
    import_map: bytes
    script: bytes
    icon: str
    """Its `data:` address."""
    policy: str
    """The Content-Security-Policy: the page reaches no network, and nothing but these scripts runs."""


async def html_pieces(source: Source, assets: Assets) -> AsyncGenerator[bytes, None]:
    """Yields the file in pieces.

    Raises:
        BrokerUnavailable, BrokerRefused: the run cannot be read to its end.
    """
    about = source.about
    title = html.escape(about.snapshot.title)
    yield _HEAD.format(policy=assets.policy, title=f"{title} · testcast", icon=assets.icon).encode()
    yield b"<style>" + assets.style + b"</style>\n"
    yield b'<script type="importmap">' + assets.import_map + b"</script>\n"
    yield _BODY.format(icon=assets.icon).encode()
    yield _data("testcast-run", heading(about))
    async for events in source.events():
        listed = b",\n".join(event for _, event in events)
        yield b'<script type="application/json" class="testcast-events">[' + inert(listed) + b"]</script>\n"
    async for frames in source.frames():
        for frame, jpeg in frames:
            said = b'<script type="text/plain" class="testcast-frame" data-number="%d" data-seq="%d" data-at="%d">'
            opened = said % (frame.number, frame.seq, frame.time_ms)
            yield opened + base64.b64encode(jpeg) + b"</script>\n"
    yield _data("testcast-unreadable", unreadable_fields(source.unreadable()))
    yield b'<script type="module">' + assets.script + b"</script>\n</body>\n</html>\n"


def inert(text: bytes) -> bytes:
    """JSON that cannot end the element it stands in: markup needs a `<`, and JSON has one in strings only.

    U+2028 and U+2029 are escaped too: readers of the file may take them for ends of lines.
    """
    return text.replace(b"<", b"\\u003c").replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")


def _data(name: str, value: Any) -> bytes:
    return f'<script type="application/json" id="{name}">'.encode() + inert(orjson.dumps(value)) + b"</script>\n"
