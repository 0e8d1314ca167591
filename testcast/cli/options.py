"""The options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from testcast.cli.server import Server

PORT: Final = click.IntRange(1, 65535)

nats_option = click.option(
    "--nats", metavar="URL", help="Address of the broker (default: TESTCAST_NATS_URL, or nats://127.0.0.1:4222)."
)
edge_option = click.option("--edge", metavar="URL", help="Use the edge at this address instead of the broker.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
title_option = click.option("--title", help="Title that viewers see (default: the game's address).")
budget_option = click.option(
    "--budget", type=float, metavar="SECONDS", help="How long the agent may play, 5 to 600 (default: 60)."
)
seed_option = click.option("--seed", type=int, help="Seed of the agent's random choices (default: drawn).")
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
