"""Tokens: good ones are understood, and nothing else is taken for one."""

from __future__ import annotations

import hmac
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

from broker.contract import access
from broker.contract.durations import duration
from broker.contract.token_keys import KeySet, parse_keys
from broker.contract.tokens import MAX_TOKEN_BYTES, parse
from tests.tokens import ALGORITHMS, NOW, SECRET, a_key, a_token, base64url, claims, jwks
from ws_edge.access import ALL_ACTIONS, Action, NotAuthenticated, Principal
from ws_edge.access.settings import AccessConfig, Secret
from ws_edge.access.tokens import UnknownKey, Verifier

KEYS = parse_keys(jwks())
VERIFIER = Verifier(AccessConfig(keys="keys.json", secret=Secret(SECRET), algorithms=ALGORITHMS))


def verify(token: str, now: float = NOW, keys: KeySet = KEYS, verifier: Verifier = VERIFIER) -> Principal:
    return verifier.verify(token, keys, now).principal


def refusal(token: str, now: float = NOW, keys: KeySet = KEYS, verifier: Verifier = VERIFIER) -> str:
    """Why a token is refused. Nothing of the token stands in it."""
    with pytest.raises(NotAuthenticated) as refused:
        verify(token, now, keys, verifier)
    message = refused.value.message
    assert not any(part in message for part in token.split(".") if len(part) > 8)
    return message


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_good_token_says_who_may_what(algorithm: str) -> None:
    body = claims(exp=NOW + 60, can=["list", "cancel", "fly"])
    found = verify(a_token(algorithm, body))
    actions = frozenset((Action.LIST, Action.CANCEL))
    assert found == Principal("ann", frozenset(("red", "blue")), actions, frozenset(), NOW + 60, "token-1")


def test_a_star_is_everything_and_an_id_is_optional() -> None:
    found = verify(a_token(body=claims(projects="*", can="*", jti=None)))
    assert (found.projects, found.actions, found.token_id) == (None, ALL_ACTIONS, None)


def test_the_words_of_tokens_are_those_of_actions() -> None:
    assert set(access.ACTIONS) == {each.value for each in Action}


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", "application/at+jwt", "testcast+jwt"])
def test_types_that_are_accepted(typ: str) -> None:
    assert verify(a_token(header={"typ": typ})).subject == "ann"


def test_keys_that_a_token_brings_along_are_not_used() -> None:
    theirs = a_key("EdDSA", 1)
    there = {"jku": "https://evil.example/keys", "x5u": "https://evil.example/c", "x5c": ["MII"], "x5t": "abc"}
    brought = {"jwk": theirs.as_dict(private=False), **there}
    assert refusal(a_token(key=theirs, header=brought)) == "the token's signature is wrong"
    assert verify(a_token(header=brought)).subject == "ann", "they are left aside"


HS256_HEADER = b'{"alg":"HS256","kid":"RS256","typ":"JWT"}'
HEADERS: list[tuple[dict[str, Any], str]] = [
    ({"alg": "none"}, "not signed"),
    ({"alg": "None"}, "not signed"),
    ({"alg": "nOnE"}, "not signed"),
    ({"alg": None}, "no algorithm"),
    ({"alg": ["EdDSA"]}, "no algorithm"),
    ({"alg": "HS512"}, "algorithm"),
    ({"alg": "PS256"}, "algorithm"),
    ({"alg": "eddsa"}, "algorithm"),
    ({"alg": "Ed25519"}, "algorithm"),
    ({"crit": ["exp"]}, "extensions"),
    ({"crit": []}, "extensions"),
    ({"b64": False}, "extensions"),
    ({"b64": True}, "extensions"),
    ({"cty": "JWT"}, "another token"),
    ({"zip": "DEF"}, "encrypted or compressed"),
    ({"enc": "A256GCM"}, "encrypted or compressed"),
    ({"typ": None}, "another type"),
    ({"typ": "testcast-session+jwt"}, "another type"),
    ({"typ": "dpop+jwt"}, "another type"),
    ({"typ": "logout+jwt"}, "another type"),
    ({"typ": ["JWT"]}, "another type"),
    ({"kid": 5}, "key id"),
    ({"kid": "../../dev/null"}, "not known"),
    ({"kid": "' OR 1=1"}, "not known"),
    ({"kid": "a\nb"}, "key id"),
    ({"kid": "k" * 256}, "key id"),
    ({"kid": "ES256"}, "not known"),
]


@pytest.mark.parametrize(("header", "reason"), HEADERS, ids=str)
def test_headers_that_are_refused(header: dict[str, Any], reason: str) -> None:
    assert reason in refusal(a_token(header=header))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("named", ALGORITHMS)
@pytest.mark.parametrize("key_id", [*ALGORITHMS, None])
def test_no_key_counts_for_another_algorithm(algorithm: str, named: str, key_id: str | None) -> None:
    token = a_token(algorithm, header={"alg": named, "kid": key_id})
    if named == algorithm and (key_id in (named, None) or named == "HS256"):
        assert verify(token).subject == "ann"
    else:
        refusal(token)


RSA = a_key("RS256")
assert isinstance(RSA, RSAKey)
PEM, DER = RSA.as_pem(private=False), RSA.as_der(private=False)


@pytest.mark.parametrize("secret", [PEM, PEM.strip(), DER, jwks()], ids=["pem", "without line end", "der", "jwks"])
def test_a_public_key_is_no_secret(secret: bytes) -> None:
    signed = f"{base64url(HS256_HEADER)}.{base64url(json.dumps(claims()).encode())}"
    forged = f"{signed}.{base64url(hmac.digest(secret, signed.encode(), 'sha256'))}"
    assert refusal(forged) == "the token's signature is wrong"
    public_only = Verifier(AccessConfig(keys="keys.json"))
    assert "algorithm" in refusal(forged, verifier=public_only)


def test_an_algorithm_counts_only_where_the_settings_name_it() -> None:
    one = Verifier(AccessConfig(keys="keys.json", algorithms=("ES256",)))
    assert "expected" not in refusal(a_token("EdDSA"), verifier=one)
    assert verify(a_token("ES256"), verifier=one).subject == "ann"


def test_a_token_without_a_key_id_needs_the_only_key() -> None:
    token = a_token(header={"kid": None})
    assert verify(token).subject == "ann"
    two = parse_keys(jwks(*json.loads(jwks())["keys"], {**a_key("EdDSA", 1).as_dict(private=False), "kid": "other"}))
    with pytest.raises(UnknownKey):
        verify(token, keys=two)


CLAIMS: list[tuple[dict[str, Any], str]] = [
    ({"exp": None}, "never expires"),
    ({"exp": int(NOW) - 30}, "expired 30 seconds ago"),
    ({"exp": 0}, "expired"),
    ({"exp": str(int(NOW) + 60)}, "not a number"),
    ({"exp": True}, "not a number"),
    ({"exp": [int(NOW) + 60]}, "not a number"),
    ({"exp": 10**400}, "not a number"),
    ({"exp": 1e300}, "not a number"),
    ({"nbf": int(NOW) + 31}, "not valid yet"),
    ({"nbf": "now"}, "not a number"),
    ({"iat": int(NOW) + 31}, "in the future"),
    ({"iat": "now"}, "not a number"),
    ({"iss": None}, "another issuer"),
    ({"iss": "https://evil.example"}, "another issuer"),
    ({"iss": ["testcast"]}, "another issuer"),
    ({"iss": "testcast "}, "another issuer"),
    ({"aud": None}, "somebody else"),
    ({"aud": "other"}, "somebody else"),
    ({"aud": ["other"]}, "somebody else"),
    ({"aud": {"testcast": 1}}, "somebody else"),
    ({"aud": ["testcast", 5]}, "somebody else"),
    ({"aud": "testcast.evil"}, "somebody else"),
    ({"sub": None}, "subject"),
    ({"sub": ""}, "subject"),
    ({"sub": 5}, "subject"),
    ({"sub": "anonymous"}, "subject"),
    ({"sub": "a" * 256}, "subject"),
    ({"sub": "ann\noutcome=done"}, "subject"),
    ({"sub": "ann\x1b[2J"}, "subject"),
    ({"sub": "ann\u202e"}, "subject"),
    ({"sub": " ann"}, "subject"),
    ({"jti": ""}, "id (jti)"),
    ({"jti": 7}, "id (jti)"),
    ({"projects": None}, "which projects"),
    ({"projects": "red"}, "projects"),
    ({"projects": ["*"]}, "projects"),
    ({"projects": ["Red"]}, "projects"),
    ({"projects": ["red\n"]}, "projects"),
    ({"projects": ["red.>"]}, "projects"),
    ({"projects": [["red"]]}, "projects"),
    ({"projects": {"red": True}}, "projects"),
    ({"projects": ["a" * 64]}, "projects"),
    ({"projects": [f"p{n}" for n in range(257)]}, "projects"),
    ({"can": None}, "which actions"),
    ({"can": "admin"}, "can"),
    ({"can": [1]}, "can"),
    ({"can": ["x" * 65]}, "can"),
    ({"cnf": {"jkt": "abc"}}, "bound"),
]


@pytest.mark.parametrize(("changes", "reason"), CLAIMS, ids=str)
def test_claims_that_are_refused(changes: dict[str, Any], reason: str) -> None:
    assert reason in refusal(a_token(body=claims(**changes)))


def test_clocks_may_differ_by_half_a_minute() -> None:
    body = claims(exp=int(NOW) - 29, nbf=int(NOW) + 29, iat=int(NOW) + 29)
    assert verify(a_token(body=body)).subject == "ann"


BODIES = [
    b"",
    b"null",
    b"[]",
    b'"text"',
    b"{",
    b"\xef\xbb\xbf{}",
    b'{"sub": "\xff"}',
    b"[" * 5000,
    b'{"exp": NaN}',
    b'{"exp": Infinity}',
    b'{"exp": 1' + b"0" * 4400 + b"}",
    json.dumps(claims()).encode()[:-1] + b', "sub": "root"}',
    json.dumps(claims()).encode()[:-1] + b', "x": {"a": 1, "a": 2}}',
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body[:20].decode("latin-1"))
def test_bodies_that_are_no_object_are_refused(body: bytes) -> None:
    refusal(a_token(body=body))
    refusal(a_token(header=body))


def test_a_header_with_two_algorithms_is_refused() -> None:
    assert "all different" in refusal(a_token(header=b'{"alg":"EdDSA","alg":"HS256","kid":"EdDSA","typ":"JWT"}'))


def test_forms_that_are_refused() -> None:
    good = a_token()
    header, body, signature = good.split(".")
    forms = {
        "": "not a token",
        "null": "not a token",
        f"{header}.{body}.": "no signature",
        f"{header}.{body}": "not a token",
        f".{body}.{signature}": "not a token",
        f"{good}.{signature}": "not a token",
        f"{header}.{body}.{signature}.{signature}.{signature}": "encrypted",
        f"{good}=": "not a token",
        f" {good}": "not a token",
        f"{good}\n": "not a token",
        good.replace(".", "\N{ONE DOT LEADER}"): "not a token",
        f"{header}.{body}.{signature[:-1]}": "base64url",
        json.dumps({"protected": header, "payload": body, "signature": signature}): "not a token",
        good + "A" * MAX_TOKEN_BYTES: "longer",
    }
    for form, reason in forms.items():
        assert reason in refusal(form), form[:20]


def test_a_signature_has_one_text_only() -> None:
    """The last character of 64 bytes has bits that mean nothing: other characters there would be other tokens."""
    good = a_token()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    others = [good[:-1] + each for each in alphabet if each != good[-1]]
    assert all("base64url" in refusal(each) or "signature" in refusal(each) for each in others)


def test_a_signature_that_was_moved_to_another_body_is_refused() -> None:
    header, _, signature = a_token().split(".")
    body = base64url(json.dumps(claims(projects="*")).encode())
    assert refusal(f"{header}.{body}.{signature}") == "the token's signature is wrong"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@given(data=st.data())
def test_a_changed_token_never_verifies(algorithm: str, data: st.DataObject) -> None:
    token = a_token(algorithm)
    at = data.draw(st.integers(0, len(token) - 1))
    change = data.draw(st.one_of(st.characters(codec="ascii"), st.just(""), st.just(token[at] * 2)))
    changed = token[:at] + change + token[at + 1 :]
    if changed != token:
        refusal(changed)


@given(st.text(max_size=200))
def test_any_text_is_refused_with_a_reason(text: str) -> None:
    assert refusal(text)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)))
def test_claims_of_any_type_never_confuse(value: Any) -> None:
    """Whatever stands in a claim, the token is refused or means what it says."""
    for name in ("sub", "exp", "nbf", "iat", "iss", "aud", "jti", "projects", "can"):
        body = claims() | {name: value}
        if re.search("NaN|Infinity", json.dumps(body)):
            continue
        try:
            found = verify(a_token("HS256", body))
        except NotAuthenticated:
            continue
        assert found.projects == (None if body["projects"] == "*" else frozenset(body["projects"]))
        assert {each.value for each in found.actions} <= set(access.ACTIONS)


def test_nothing_of_a_token_is_shown() -> None:
    shown = repr(parse(a_token()))
    assert shown == "<Token>"
    assert "testcast" in repr(VERIFIER) and SECRET.decode() not in repr(VERIFIER)


def test_lengths_of_time_are_told_in_words() -> None:
    cases = {
        0.5: "1 second",
        45: "45 seconds",
        119: "119 seconds",
        150: "2 minutes",
        7300: "2 hours",
        200_000: "2 days",
    }
    assert {seconds: duration(seconds) for seconds in cases} == cases
