"""Conditional requests: which values of `If-None-Match` name an answer."""

from __future__ import annotations

import pytest

from ws_edge.api.http_cache import if_none_match, kept, matches


@pytest.mark.parametrize(
    ("asked", "etag", "expected"),
    [
        ('"a"', '"a"', True),
        ('W/"a"', '"a"', True),
        ('"a"', 'W/"a"', True),
        ('W/"a"', 'W/"a"', True),
        ("*", '"a"', True),
        (" * ", 'W/"a"', True),
        ('"b", "a"', '"a"', True),
        ('"b",W/"a"', '"a"', True),
        ('"a" , "b"', '"a"', True),
        ('\t"b",\t"a"\t', '"a"', True),
        (',, "a",', '"a"', True),
        ('"a,b"', '"a,b"', True),
        ('"x", "a,b", "y"', '"a,b"', True),
        ('""', '""', True),
        ('"\xe9"', '"\xe9"', True),
        ('"a,b"', '"a"', False),
        ('"a,b"', '"b"', False),
        ('"A"', '"a"', False),
        ('"b"', '"a"', False),
        ('"b", W/"c"', '"a"', False),
        ("", '"a"', False),
        (" ", '"a"', False),
        (",", '"a"', False),
        ("a", '"a"', False),
        ('"a', '"a"', False),
        ('a"', '"a"', False),
        ('w/"a"', '"a"', False),  # RFC 9110, 8.8.3: the prefix is case-sensitive
        ('W /"a"', '"a"', False),
        ('W/W/"a"', '"a"', False),
        ('"a" "b"', '"a"', False),
        ('"a"; "b"', '"a"', False),
        ('"a", junk', '"a"', False),
        ('junk, "a"', '"a"', False),
        ('"a", *', '"a"', False),
        ("**", '"a"', False),
        ('"*"', '"a"', False),
        ('"a b"', '"a b "', False),
        ("\ud800", '"a"', False),
    ],
)
def test_what_matches(asked: str, etag: str, expected: bool) -> None:
    assert matches(asked, etag) is expected
    if asked.isprintable() or asked.isascii():
        asked_bytes, etag_bytes = asked.encode("latin-1"), etag.encode("latin-1")
        assert matches(asked_bytes, etag_bytes) is matches(asked_bytes, etag) is matches(asked, etag_bytes) is expected


def test_a_long_value_is_read_in_one_pass() -> None:
    many = ", ".join(f'"{number}"' for number in range(5000))
    assert matches(f'{many}, W/"a"', '"a"')
    assert not matches(many, '"a"')
    assert not matches('"' * 60_001, '"a"')
    assert not matches(" \t" * 30_000 + "x", '"a"')


def test_lines_of_the_field_are_one_list() -> None:
    headers = [(b"host", b"x"), (b"if-none-match", b'"b"'), (b"accept", b"*/*"), (b"if-none-match", b'W/"a"')]
    assert matches(if_none_match(headers), '"a"')
    assert if_none_match(headers[:1]) == b""


def test_a_kept_answer_is_for_who_has_asked_alone() -> None:
    public = kept(60, immutable=True, shared=True, vary=["accept"])
    assert public == {"cache-control": "public, max-age=60, immutable", "vary": "accept"}
    private = kept(60, shared=False, vary=["accept"])
    assert private == {"cache-control": "private, max-age=60", "vary": "accept, authorization, cookie"}
    assert kept(60, shared=True) == {"cache-control": "public, max-age=60"}
    assert kept(None, shared=True)["cache-control"] == kept(None, shared=False)["cache-control"] == "no-store"
