"""The options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from testcast import config

if TYPE_CHECKING:
    from testcast.cli.server import Server

PORT: Final = click.IntRange(1, 65535)

nats_option = click.option(
    "--nats", metavar="URL", help="Address of the broker (default: TESTCAST_NATS_URL, or nats://127.0.0.1:4222)."
)


def _use_token_file(_ctx: click.Context, _option: click.Parameter, given: Path | None) -> None:
    if given is not None:
        config.use_token_file(given)


token_file_option = click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    expose_value=False,
    callback=_use_token_file,
    help="File with the token for the edge (default: TESTCAST_TOKEN_FILE).",
)
"""It stands for the variable, so that everything which talks to an edge uses it."""


def edge_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--edge`, and `--token-file` that goes with it."""
    edge = click.option("--edge", metavar="URL", help="Use the edge at this address instead of the broker.")
    return edge(token_file_option(command))


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
title_option = click.option("--title", help="Title that viewers see (default: the game's address).")
budget_option = click.option(
    "--budget", type=float, metavar="SECONDS", help="How long the agent may play, 5 to 600 (default: 60)."
)
seed_option = click.option("--seed", type=int, help="Seed of the agent's random choices (default: drawn).")
seeds_option = click.option(
    "--seeds",
    type=click.IntRange(2, 20),
    metavar="N",
    help="Submit N runs with the seeds 1 to N; follows, and prints median and spread.",
)
project_option = click.option(
    "--project", metavar="NAME", help="Project of the run: who may see it (default: `default`, or your only one)."
)


def _labels(_ctx: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    from broker.contract.errors import BadInput
    from broker.contract.labels import parse_labels

    try:
        return parse_labels(given)
    except BadInput as error:
        raise click.BadParameter(error.message.removeprefix("label: ").removeprefix("labels: ")) from None


def label_option(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`--label NAME=VALUE`, repeatable, as the argument `labels`."""
    return click.option(
        "--label", "labels", metavar="NAME=VALUE", multiple=True, callback=_labels, help=f"{what}; repeatable."
    )


listen_host_option = click.option("--host", help="Address to listen on (default: TESTCAST_EDGE_HOST, or 127.0.0.1).")
follow_option = click.option(
    "--follow", is_flag=True, help="Show the run until it ends; its verdict is the exit status."
)
run_argument = click.argument("run", metavar="RUN")


def server(edge: str | None, nats: str | None) -> Server:
    """What a command connects to.

    Raises:
        click.UsageError: both options are given.
        InvalidSetting: the broker's address, or a setting of it, is invalid.
    """
    from testcast.cli.server import Server
    from testcast.local.secure import reached

    if edge is not None and nats is not None:
        raise click.UsageError("--edge and --nats: give only one of them")
    return Server(edge, None if edge is not None else reached(nats), nats)
