"""TESTCAST_AGENT_MODEL…: what is taken, what is refused and by which name; and that the key is shown nowhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent_worker import config
from agent_worker.games.model.settings import Key
from broker.contract.errors import InvalidSetting

KEY = "sk-test-0123456789abcdef"
URL, NAME = "TESTCAST_AGENT_MODEL_URL", "TESTCAST_AGENT_MODEL"
GIVEN = {URL: "https://models.example/v1", NAME: "see-4b"}


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    file.chmod(0o600)
    return file


def test_no_model_plays_unless_one_is_named() -> None:
    assert config.load({}).model is None


def test_a_model_with_all_that_can_be_set(key_file: Path) -> None:
    more = {"TIMEOUT_S": "2.5", "CALLS": "7", "TOKENS": "5000", "KEY_FILE": str(key_file)}
    model = config.load(GIVEN | {f"{NAME}_{each}": value for each, value in more.items()}).model
    assert model is not None and model.key is not None
    assert (model.url, model.name) == ("https://models.example/v1/chat/completions", "see-4b")
    assert (model.timeout_s, model.calls, model.tokens) == (2.5, 7, 5000)
    assert model.key.header() == f"Bearer {KEY}"
    assert KEY not in f"{model!r} {model} {model.key} {model.key!r} {config.load(GIVEN)!r}"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:11434/v1/", "http://[::1]:1/v1", "http://localhost/v1/chat/completions/"]
)
def test_loopback_may_be_spoken_to_in_clear(url: str, key_file: Path) -> None:
    model = config.load(GIVEN | {URL: url, f"{NAME}_KEY_FILE": str(key_file)}).model
    assert model is not None and model.url.endswith("/chat/completions") and model.url.count("/chat/") == 1


def test_a_key_leaves_the_machine_encrypted_only(key_file: Path) -> None:
    clear = GIVEN | {URL: "http://models.example/v1"}
    assert config.load(clear).model is not None
    for host in ("models.example", "10.0.0.1", "localhost.example", "128.0.0.1"):
        with pytest.raises(InvalidSetting, match=f"^{URL}: .*https"):
            config.load(clear | {URL: f"http://{host}/v1", f"{NAME}_KEY_FILE": str(key_file)})


@pytest.mark.parametrize(
    ("name", "given"),
    [
        (URL, {URL: "models.example/v1"}),
        (URL, {URL: "ftp://models.example/v1"}),
        (URL, {URL: "https:///v1"}),
        (URL, {URL: "https://user:word@models.example/v1"}),
        (URL, {URL: "https://models.example/v1?key=secret"}),
        (URL, {URL: "https://models.example:99999/v1"}),
        (URL, {URL: "https://models.example/v 1"}),
        (URL, {URL: "https://models.example/v1\nHost: a"}),
        (NAME, {NAME: ""}),
        (NAME, {NAME: "x" * 129}),
        (NAME, {NAME: "two\nlines"}),
        (NAME, {URL: "", NAME: "see-4b"}),
        (f"{NAME}_TIMEOUT_S", {f"{NAME}_TIMEOUT_S": "0.5"}),
        (f"{NAME}_TIMEOUT_S", {f"{NAME}_TIMEOUT_S": "121"}),
        (f"{NAME}_CALLS", {f"{NAME}_CALLS": "0"}),
        (f"{NAME}_CALLS", {URL: "", NAME: "", f"{NAME}_CALLS": "many"}),
        (f"{NAME}_TOKENS", {f"{NAME}_TOKENS": "999"}),
        (f"{NAME}_KEY_FILE", {f"{NAME}_KEY_FILE": "/no/such/file"}),
        (f"{NAME}_KEY_FILE", {f"{NAME}_KEY_FILE": "/"}),
        (f"{NAME}_KEY_FILE", {f"{NAME}_KEY_FILE": "~no-such-user-of-all/key"}),
    ],
)
def test_wrong_values_are_refused_by_name(name: str, given: dict[str, str]) -> None:
    with pytest.raises(InvalidSetting, match=f"^{name}: ") as refused:
        config.load(GIVEN | given)
    assert "secret" not in refused.value.message and "word@" not in refused.value.message


@pytest.mark.parametrize("content", [b"", b"two words", b"a\nb", b"x" * 4097, "schlüssel".encode(), b"\x00\x01"])
def test_a_file_that_is_not_one_key_is_refused_unseen(content: bytes, key_file: Path) -> None:
    key_file.write_bytes(content)
    with pytest.raises(InvalidSetting, match=f"^{NAME}_KEY_FILE: ") as refused:
        config.load(GIVEN | {f"{NAME}_KEY_FILE": str(key_file)})
    assert "words" not in refused.value.message and "xxx" not in refused.value.message


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key")
    with pytest.raises(InvalidSetting, match=f"^{NAME}_KEY_FILE: .*not a regular file"):
        config.load(GIVEN | {f"{NAME}_KEY_FILE": str(tmp_path / "key")})


def test_a_key_that_others_may_read_is_told(key_file: Path) -> None:
    given = GIVEN | {f"{NAME}_KEY_FILE": str(key_file)}
    assert config.warnings(given) == config.warnings({}) == []
    key_file.chmod(0o644)
    (warning,) = config.warnings(given)
    assert warning.startswith(f"{NAME}_KEY_FILE: other users") and KEY not in warning
    assert config.warnings(given | {f"{NAME}_KEY_FILE": "/no/such/file"}) == []


def test_browsers_learn_neither_the_endpoint_nor_where_its_key_is(key_file: Path) -> None:
    environ = GIVEN | {f"{NAME}_KEY_FILE": str(key_file), "PATH": "/bin"}
    assert config.load(environ).browser_environment == {"PATH": "/bin"}
    config.forget_secrets(environ)
    assert environ == {NAME: "see-4b", "PATH": "/bin"}


def test_a_key_is_found_in_a_text_by_any_piece_of_it() -> None:
    key = Key(KEY)
    assert key.is_told_in(f"it is {KEY}!") and key.is_told_in(f"it ends with {KEY[-8:]}")
    assert not key.is_told_in("jump over the gap") and not key.is_told_in(KEY[:7])
    assert Key("abc").is_told_in("xabcx") and not Key("abc").is_told_in("ab c")
