"""The command `testcast`: its commands and options, and the exit status of each.

The modules that do the work are imported when a command runs, so that `testcast --help` answers at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Final, NoReturn

import click
from click.shell_completion import get_completion_class

from broker.contract.errors import BrokerUnavailable, TestcastError
from testcast import config
from testcast.cli.options import PORT, budget_option, nats_option, seed_option
from testcast.cli.run_commands import COMMANDS
from testcast.cli.terminal import Terminal, discard_stdout
from testcast.exit_codes import EXIT_COMPLETED, EXIT_SIGNAL, EXIT_USAGE, exit_status

_PROGRAM: Final = "testcast"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="testcast", prog_name=_PROGRAM)
def cli() -> None:
    """Watch an automated tester play your web game, live.

    \b
    testcast demo                                      everything on this machine, with a small game
    testcast submit https://my-game.example --follow   test a game and show the run
    testcast tail last                                 show the newest run until it ends
    testcast list --since 2h                           what has run

    \b
    RUN is a test id, the beginning of one, `last`, or the address of a run's page.

    \b
    Exit status: 0 done, or run completed; 1 run failed or cancelled, or refused; 2 wrong usage, or no such run;
    3 no connection, or connection lost; 130 stopped by Ctrl-C.
    """


for _command in COMMANDS:
    cli.add_command(_command)


@cli.command()
@click.option("--once", is_flag=True, help="Stop when the run ends; its verdict is the exit status.")
@click.option("--game", metavar="URL", help="Test this game instead of the bundled one.")
@click.option("--port", type=PORT, default=8000, show_default=True, help="Port of the dashboard.")
@seed_option
@budget_option
def demo(once: bool, game: str | None, port: int, seed: int | None, budget: float | None) -> int:
    """Run everything on this machine and test a small game.

    Starts a broker, an edge, an agent and the game, prints the address of the dashboard and shows the run.
    Ctrl-C stops everything. A second one kills all processes at once.
    """
    from testcast.cli import demo as command
    from testcast.cli.targets import complete_game_url

    game_url = None if game is None else complete_game_url(game)
    request = command.DemoRequest(once, game_url, port, seed, budget)
    return asyncio.run(command.demo(request, config.broker(), Terminal()))


@cli.command()
@click.option(
    "--edges", type=click.IntRange(1, 32), default=1, show_default=True, help="Number of edges, on consecutive ports."
)
@click.option("--agents", type=click.IntRange(0, 32), default=1, show_default=True, help="Number of agents.")
@click.option("--port", type=PORT, default=8000, show_default=True, help="Port of the first edge.")
@nats_option
def up(edges: int, agents: int, port: int, nats: str | None) -> int:
    """Run a broker, edges and agents on this machine until Ctrl-C.

    With --nats or TESTCAST_NATS_URL they use that broker, and no other is started.
    """
    from testcast.cli import demo as command

    settings = config.broker(nats)
    nats_url = settings.nats_url if nats is not None or config.names_a_broker() else None
    return asyncio.run(command.up(command.UpRequest(edges, agents, port, nats_url), settings, Terminal()))


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=4222, show_default=True, help="Port to listen on.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the data (default: one in TESTCAST_STATE_DIR).",
)
def broker(host: str, port: int, data: Path | None) -> int:
    """Run a NATS server with JetStream and the streams of testcast until Ctrl-C."""
    from testcast.cli import demo as command

    return asyncio.run(command.broker(host, port, data, config.broker(), Terminal()))


@cli.command()
@click.option("--host", help="Address to listen on (default: TESTCAST_EDGE_HOST, or 127.0.0.1).")
@click.option("--port", type=PORT, help="Port to listen on (default: TESTCAST_EDGE_PORT, or 8000).")
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Processes on that port (default: TESTCAST_EDGE_WORKERS, or 1)."
)
@nats_option
def edge(host: str | None, port: int | None, workers: int | None, nats: str | None) -> NoReturn:
    """Run one edge: the dashboard, the RPC and the WebSockets."""
    settings: dict[str, object] = {
        "TESTCAST_EDGE_HOST": host,
        "TESTCAST_EDGE_PORT": port,
        "TESTCAST_EDGE_WORKERS": workers,
    }
    _execute("ws_edge", settings, nats)


@cli.command()
@click.option("--concurrency", type=int, help="Games at the same time (default: TESTCAST_AGENT_CONCURRENCY, or 2).")
@nats_option
def agent(concurrency: int | None, nats: str | None) -> NoReturn:
    """Run one agent, which takes jobs from the queue and plays the games."""
    _execute("agent_worker", {"TESTCAST_AGENT_CONCURRENCY": concurrency}, nats)


@cli.command()
def doctor() -> int:
    """Check what this machine lacks, and say how to get it."""
    from testcast.cli import commands

    return commands.doctor(Terminal())


@cli.command()
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
def completion(shell: str) -> int:
    """Print the script that completes commands and options in a shell.

    \b
    bash   testcast completion bash > ~/.local/share/bash-completion/completions/testcast
    zsh    testcast completion zsh > ~/.zfunc/_testcast     (with ~/.zfunc in fpath)
    fish   testcast completion fish > ~/.config/fish/completions/testcast.fish
    """
    known = get_completion_class(shell)
    assert known is not None
    Terminal().say(known(cli, {}, _PROGRAM, f"_{_PROGRAM.upper()}_COMPLETE").source())
    return EXIT_COMPLETED


@cli.command("demo-game", hidden=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=PORT, default=8080, show_default=True, help="Port to listen on.")
def demo_game(host: str, port: int) -> int:
    """Serve the demo game."""
    from testcast.local.game_server import serve

    return serve(host, port)


def _execute(module: str, settings: dict[str, object], nats: str | None) -> NoReturn:
    """Replaces this process by `python -m module`, which then receives the signals and sets the exit status."""
    config.broker(nats)  # a wrong address is reported before the process is replaced
    environment = config.for_child(settings | {"TESTCAST_NATS_URL": nats})
    os.execve(sys.executable, [sys.executable, "-m", module], environment)


def main() -> NoReturn:
    """Runs the command, prints its error and exits with its status."""
    logging.getLogger().addHandler(logging.NullHandler())  # the command itself reports what the packages below log
    try:
        # The name is given: click would derive another one from `python -m …`.
        status = cli.main(prog_name=_PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        status = EXIT_USAGE
    except click.ClickException as error:
        Terminal().error(error.format_message())
        if isinstance(error, click.UsageError) and error.ctx is not None:
            Terminal().note(f"{error.ctx.get_usage()}\nRun `{error.ctx.command_path} --help` for details.")
        status = EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        status = EXIT_SIGNAL + signal.SIGINT
    except BrokenPipeError:
        discard_stdout()
        status = EXIT_SIGNAL + signal.SIGPIPE
    except TestcastError as error:
        Terminal().error(error.message)
        if isinstance(error, BrokerUnavailable):
            Terminal().note("`testcast up` starts a broker; --nats or TESTCAST_NATS_URL names another one")
        status = exit_status(error)
    sys.exit(status if isinstance(status, int) else 0)
