"""The settings of the command. Only this file of the package reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from broker import config as broker_config
from broker.config import BrokerConfig, MetricsSettings, login_given, switch, whole
from broker.contract.access import AUDIENCE, ISSUER
from broker.contract.errors import InvalidSetting
from broker.local.exposure import is_exposed, refuse_exposed
from testcast.client.address import is_local

if TYPE_CHECKING:
    from testcast.recording.redaction import Redactor

METRICS_PORT: Final = 9464
"""Where `up` and `demo` serve metrics, and `top` looks for them: the usual port of OpenTelemetry's exporters."""
ACCESS: Final = ("TESTCAST_ACCESS_KEYS", "TESTCAST_ACCESS_SECRET_FILE")
"""Each of them turns authentication on."""


def broker(nats_url: str | None = None, environ: Mapping[str, str] = os.environ) -> BrokerConfig:
    """The settings of the broker; `nats_url` (the option `--nats`) replaces `TESTCAST_NATS_URL`.

    Raises:
        InvalidSetting: a value is invalid; the message names the variable.
    """
    return broker_config.load(environ if nats_url is None else {**environ, "TESTCAST_NATS_URL": nats_url})


def refuse_exposed_broker(host: str, environ: Mapping[str, str] = os.environ) -> None:
    """Refuses to start a broker without users where other machines reach it.

    Raises:
        InvalidSetting: it would be started so; the message says how to start one with users.
    """
    if is_exposed(host) and not switch("TESTCAST_INSECURE", False, environ):
        raise InvalidSetting(
            f"--host: other machines can reach {host}, and this broker asks nobody who he is. One with users, keys and "
            f"TLS:\n\n    testcast broker --secure --host {host}\n\n"
            "With TESTCAST_INSECURE=1 it listens there without users."
        )


def names_a_broker(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether `TESTCAST_NATS_URL` is set. `up` then uses that broker instead of starting one."""
    return bool(environ.get("TESTCAST_NATS_URL"))


def describes_a_broker(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether any setting says where the broker is, or how to log in to it."""
    return names_a_broker(environ) or bool(login_given(environ))


def unknown_settings(environ: Mapping[str, str] = os.environ) -> list[str]:
    """A sentence for each variable whose name begins like a setting's and is none."""
    return broker_config.unknown(environ)


def redactor(environ: Mapping[str, str] = os.environ) -> Redactor:
    """What takes the secrets of this environment out of texts that others read."""
    from testcast.recording.redaction import Redactor  # only commands that record need it

    return Redactor(environ)


def version() -> str:
    """The version of the package that is installed."""
    return metadata.version("testcast")


def state_directory(settings: BrokerConfig) -> Path:
    """The directory for data and logs.

    Raises:
        InvalidSetting: there is none.
    """
    if settings.state_dir is None:
        raise InvalidSetting(
            "TESTCAST_STATE_DIR: it is not set, and this user has no home directory: set it to a directory for the data"
        )
    return settings.state_dir


def allow_private(nats_url: str, game_url: str | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the game may be tested although it is at a private address, with this broker.

    `TESTCAST_ALLOW_PRIVATE` decides. Where it is not set, games on this machine may if the broker is here as well.

    Args:
        game_url: None: any game that others than this machine may submit.

    Raises:
        InvalidSetting: the value is neither yes nor no.
    """
    given = broker_config.allow_private(environ)
    if given is not None:
        return given
    return game_url is not None and all(map(is_local, [*nats_url.split(","), game_url]))


def allowed_hosts(environ: Mapping[str, str] = os.environ) -> frozenset[str]:
    """The hosts that may be tested although their addresses are private: `TESTCAST_ALLOW_HOSTS`."""
    return broker_config.allowed_hosts(environ)


def edge_address(
    host: str | None = None, port: int | None = None, environ: Mapping[str, str] = os.environ
) -> tuple[str, int]:
    """Where the edges of this machine listen: the options, else `TESTCAST_EDGE_HOST` and `TESTCAST_EDGE_PORT`.

    Raises:
        InvalidSetting: the port is not a number; the message names the variable.
    """
    if port is None:
        port = whole("TESTCAST_EDGE_PORT", 8000, 1, 65535, environ)
    given = host or environ.get("TESTCAST_EDGE_HOST") or "127.0.0.1"
    return given.strip(" []"), port


def refuse_exposed_edge(
    host: str, command: str, further: Mapping[str, str] | None = None, environ: Mapping[str, str] = os.environ
) -> None:
    """Refuses to start edges without authentication where other machines reach them.

    Args:
        command: what starts them with authentication.
        further: settings that the edges get beside the environment.

    Raises:
        InvalidSetting: they would be started so; the message says how to set authentication up.
    """
    settings = {**environ, **(further or {})}
    protected = any(settings.get(name, "").strip() for name in ACCESS)
    if not protected and not switch("TESTCAST_INSECURE", False, environ):
        refuse_exposed(host, f"{command} --host {host}")


def stack_metrics(environ: Mapping[str, str] = os.environ) -> tuple[MetricsSettings, bool]:
    """Where `up` and `demo` serve metrics: as the settings say, else on a port that is used only if it is free.

    Returns:
        The address, and whether the settings name the port.

    Raises:
        InvalidSetting: a value is invalid; the message names the variable.
    """
    settings = broker_config.metrics(environ)
    named = bool(environ.get("TESTCAST_METRICS_PORT", "").strip())
    return (settings, True) if named else (settings._replace(port=METRICS_PORT), False)


def use_token_file(path: Path) -> None:
    """Uses the token in this file, instead of the one that `TESTCAST_TOKEN_FILE` names."""
    os.environ["TESTCAST_TOKEN_FILE"] = str(path)


def token_issuer(environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """What tokens name as their issuer and their audience, as the edges of this machine expect it."""
    issuer = environ.get("TESTCAST_ACCESS_ISSUER", "").strip() or ISSUER
    return issuer, environ.get("TESTCAST_ACCESS_AUDIENCE", "").strip() or AUDIENCE


def access_directory(given: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the files of a protected installation are: the option `--dir`, else below the state directory.

    Raises:
        InvalidSetting: there is no such directory.
    """
    return given if given is not None else state_directory(broker_config.load(environ)) / "access"


def keys_file(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The file of public keys that the edges of this machine use; None where they fetch them from an address."""
    given = environ.get("TESTCAST_ACCESS_KEYS", "").strip()
    if given:
        return None if "://" in given else Path(given).expanduser()
    state = broker_config.load(environ).state_dir
    usual = None if state is None else state / "access" / "keys.json"
    return usual if usual is not None and usual.is_file() else None


def local_edge(environ: Mapping[str, str] = os.environ) -> str:
    """The address of the edge that a command over NATS looks for, to name the page of a run.

    `TESTCAST_EDGE_PUBLIC_URL`, or the edge of this machine.
    """
    port = environ.get("TESTCAST_EDGE_PORT") or "8000"
    return environ.get("TESTCAST_EDGE_PUBLIC_URL") or f"http://127.0.0.1:{port}"


def public_edge(environ: Mapping[str, str] = os.environ) -> str | None:
    """The address at which viewers reach an edge, if `TESTCAST_EDGE_PUBLIC_URL` names one."""
    return environ.get("TESTCAST_EDGE_PUBLIC_URL") or None


class GithubFiles(NamedTuple):
    """The files that a step of GitHub Actions may append to."""

    summary: Path
    output: Path | None


def github_files(environ: Mapping[str, str] = os.environ) -> GithubFiles:
    """The files that GitHub's runner names in `GITHUB_STEP_SUMMARY` and `GITHUB_OUTPUT`.

    Raises:
        InvalidSetting: this is no step of GitHub Actions.
    """
    summary, output = (environ.get(name, "").strip() for name in ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT"))
    if not summary:
        raise InvalidSetting("GITHUB_STEP_SUMMARY: it is not set, so that --github-summary has no file to append to")
    return GithubFiles(Path(summary), Path(output) if output else None)


def for_child(settings: Mapping[str, object], environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a child process: this one, changed by `settings`. A value of None changes nothing.

    `PYTHONPATH` loses the current directory, where a file would hide the module of its name.
    """
    changed = {**environ, **{name: str(value) for name, value in settings.items() if value is not None}}
    path = changed.pop("PYTHONPATH", "").split(os.pathsep)
    if kept := [each for each in path if os.path.realpath(each or ".") != os.path.realpath(".")]:  # noqa: PTH
        changed["PYTHONPATH"] = os.pathsep.join(kept)
    return changed
