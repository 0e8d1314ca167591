"""The command `run`, with its arguments and options. The modules that do the work are imported when it runs."""

from __future__ import annotations

import click

from testcast.cli import options as shared
from testcast.cli.terminal import Terminal


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND [ARGUMENT]...")
@click.option("--title", help="Title that viewers see (default: the command line, without values of secret options).")
@shared.project_option
@shared.label_option("Label of the run, such as commit=abc")
@click.option(
    "--phase",
    "phases",
    metavar="TITLE[=REGEX]",
    multiple=True,
    help="Title of a phase, in order; with REGEX it begins at the first line that matches. Repeatable, at most 4.",
)
@click.option(
    "--score-from",
    metavar="REGEX",
    help="Read the score in the output: the group of the last match, 0 to 100; with two groups their share.",
)
@click.option("--pty", "use_pty", is_flag=True, help="Give the command a terminal, so that it prints colours.")
@click.option(
    "--grace",
    "grace_s",
    type=click.FloatRange(0, 3600),
    metavar="SECONDS",
    default=10.0,
    show_default=True,
    help="When the run is cancelled: seconds between SIGTERM and SIGKILL.",
)
@click.option("-q", "--quiet", is_flag=True, help="Do not print the run's address.")
@shared.edge_option
@shared.nats_option
def run(
    command: tuple[str, ...],
    title: str | None,
    project: str | None,
    labels: dict[str, str],
    phases: tuple[str, ...],
    score_from: str | None,
    use_pty: bool,
    grace_s: float,
    quiet: bool,
    edge: str | None,
    nats: str | None,
) -> int:
    """Run COMMAND, and show its output to viewers as a run that they follow live.

    The output goes to this terminal, too, unchanged. The exit status is that of COMMAND, 127 if there is no such
    command, 126 if it cannot be started. A broker that is away does not disturb it: what was not stored is told at the
    end. Whoever cancels the run stops the command. A line `::phase TITLE::` of the output begins a phase.

    \b
    testcast run -- npm test
    testcast run --title "Nightly" --label commit=abc --phase Install --phase "Test=^> jest" -- npm run ci
    testcast run --score-from 'Lines +: ([0-9.]+)%' --edge https://testcast.example -- npm run coverage
    """
    from testcast import config
    from testcast.cli import record
    from testcast.recording.command_run import shown_command
    from testcast.recording.markers import Phases, ScoreReader
    from testcast.recording.sinks import About, checked

    known = Phases(phases)
    score = None if score_from is None else ScoreReader(score_from)
    about = checked(
        About(title if title is not None else shown_command(command, config.redactor()), project, labels, known.titles)
    )
    request = record.RunRequest(command, about, known, score, use_pty, quiet, grace_s)
    return record.run(request, shared.server(edge, nats), Terminal())
