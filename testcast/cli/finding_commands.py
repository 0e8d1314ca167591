"""The command about one finding of a run, with its arguments and options."""

from __future__ import annotations

import asyncio
from typing import Final

import click

from testcast.cli import options as shared
from testcast.cli.terminal import Terminal


@click.command()
@shared.run_argument
@click.argument("finding", metavar="FINDING")
@click.option("--url", metavar="URL", help="Play it on this address instead of the run's: on a repaired game, say.")
@click.option("--times", type=click.IntRange(1, 100), default=1, show_default=True, help="How often to play it.")
@click.option("--headed", is_flag=True, help="Show the browser, at the game's own speed.")
@click.option("--speed", type=click.FloatRange(0.05, 100), metavar="N", help="Seconds of the game in a second.")
@shared.edge_option
@shared.nats_option
@shared.json_option
def reproduce(
    run: str,
    finding: str,
    url: str | None,
    times: int,
    headed: bool,
    speed: float | None,
    edge: str | None,
    nats: str | None,
    as_json: bool,
) -> int:
    """Play a finding of a run again, on this machine, and say whether it happened.

    FINDING is its id, such as f1. The game is opened in a browser, its time is owned as when the agent played it, and
    gets the same inputs with the same seed.

    \b
    Exit status: 0 it happened, at least once; 1 it did not; 2 wrong usage, or it cannot be played; 3 the game could not
    be opened, or no connection.
    """
    from testcast.cli import reproduce as replays
    from testcast.cli.targets import parse_run

    name, named_edge = parse_run(run, edge)
    server = shared.server(named_edge, nats)
    request = replays.ReproduceRequest(finding, url, times, headed, replays.speed_of(speed, headed=headed))
    return asyncio.run(replays.reproduce(name, request, server, Terminal(), as_json=as_json))


COMMANDS: Final = (reproduce,)
