"""`testcast submit` in a CI job: follows the run, judges it and leaves reports, whatever happens on the way."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeVar

from broker.clock import now_ms
from broker.contract.errors import AlreadyEnded, BadInput, TestcastError
from broker.version import VERSION
from testcast import config
from testcast.cli import ci_report, commands
from testcast.cli.ci_report import Facts, Judgement
from testcast.cli.commands import source_of
from testcast.cli.follow import Follow
from testcast.cli.new_file import check_new, new_file
from testcast.cli.server import Server, page_of
from testcast.cli.terminal import Terminal
from testcast.exit_codes import EXIT_LOST, exit_status

_MAX_SUMMARY_BYTES: Final = 1 << 20
"""GitHub takes no larger summary of a step."""


T = TypeVar("T", contravariant=True)


class Wishes(NamedTuple):
    """The options of `submit` for CI."""

    min_score: float | None = None
    junit: Path | None = None
    github: bool = False
    timeout_s: float | None = None

    @property
    def any(self) -> bool:
        """Whether there is one. Each of them follows the run."""
        return self != Wishes()


class Report(Protocol[T]):
    """What a CI job is left with, of what it has been told: `ci_report` of one run, `seeds_report` of a series."""

    def junit(self, told: T, judgement: Judgement, now_ms: int, version: str, /) -> bytes:
        """The suite, as XML."""

    def markdown(self, told: T, judgement: Judgement, /) -> str:
        """The summary."""

    def outputs(self, told: T, judgement: Judgement, /) -> str:
        """Lines `name=value` for the steps that follow."""

    def annotated(self, told: T, judgement: Judgement, /) -> list[str]:
        """Workflow commands."""


async def submit(
    request: commands.SubmitRequest, wishes: Wishes, server: Server, terminal: Terminal, *, as_json: bool
) -> int:
    """Submits a game, follows the run to its end and writes the reports. Returns the exit status.

    Raises:
        BadInput: a report cannot be written; nothing was submitted.
        TestcastError: the run was not submitted. The reports say so.
    """
    if wishes.junit is not None:
        check_new(wishes.junit, force=True)
    github = config.github_files() if wishes.github else None
    facts = Facts(request.title or request.game_url, request.game_url)
    try:
        facts.test_id = await commands.submitted_here(request, server, terminal)
    except TestcastError as error:
        facts.refused = (error.code, error.message)
        judgement = ci_report.judge(facts, wishes.min_score)._replace(status=exit_status(error))
        write(ci_report, facts, judgement, wishes, github, terminal, as_json=as_json)
        raise
    facts.page = await page_of(facts.test_id, server)
    terminal.note(f"test {facts.test_id}" + ("" if facts.page is None else f"\n{facts.page}"))
    # The game's own words stand in the job's log: none of them is a command to GitHub.
    quiet = secrets.token_hex(16) if github else ""
    try:
        if quiet:
            _command(f"::stop-commands::{quiet}", terminal, as_json=as_json)
        await _follow(facts, wishes, server, terminal, as_json=as_json)
    finally:
        if quiet:
            _command(f"::{quiet}::", terminal, as_json=as_json)
    judgement = ci_report.judge(facts, wishes.min_score)
    write(ci_report, facts, judgement, wishes, github, terminal, as_json=as_json)
    if judgement.status:
        terminal.error(judgement.headline)
    return judgement.status


async def _follow(facts: Facts, wishes: Wishes, server: Server, terminal: Terminal, *, as_json: bool) -> None:
    """Shows the run until it ends, or cancels it when the time is over."""
    follow = Follow(terminal, facts.test_id, json=as_json, options=server.options, on_item=facts.note)
    request, position = commands.TailRequest(facts.test_id, None, (), None), 0
    try:
        async with asyncio.timeout(wishes.timeout_s), source_of(facts.test_id, request, server, follow) as source:
            try:
                if await follow.run(source) == EXIT_LOST:
                    facts.unheard = "the connection was lost before the end of the run"
            finally:
                position = source.position
    except TimeoutError:
        if not facts.run.ended:
            facts.timed_out_s = wishes.timeout_s
            await cancel_unwanted(facts.test_id, server, terminal)
    except TestcastError as error:
        facts.unheard = error.message
    except asyncio.CancelledError:
        await commands.say_how_to_go_on(facts.test_id, position, server, terminal)
        raise


async def cancel_unwanted(test_id: str, server: Server, terminal: Terminal) -> None:
    """Ends a run that nobody waits for any more: it would keep an agent busy."""
    try:
        await commands.cancel(test_id, server)
    except AlreadyEnded:
        return
    except TestcastError as error:
        terminal.note(f"the run could not be cancelled: {error.message}")


def write(
    report: Report[T],
    told: T,
    judgement: Judgement,
    wishes: Wishes,
    github: config.GithubFiles | None,
    terminal: Terminal,
    *,
    as_json: bool,
) -> None:
    """Writes those reports that are wished for.

    Raises:
        BadInput: one cannot be written.
    """
    if wishes.junit is not None:
        with new_file(wishes.junit, force=True) as file:
            file.write(report.junit(told, judgement, now_ms(), VERSION))
    if github is None:
        return
    _append(github.summary, report.markdown(told, judgement))
    if github.output is not None:
        _append(github.output, report.outputs(told, judgement))
    for each in report.annotated(told, judgement):
        _command(each, terminal, as_json=as_json)


def _append(path: Path, text: str) -> None:
    """Adds to a file that GitHub names, unless it is full.

    Raises:
        BadInput: it cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            if file.tell() + len(text.encode()) <= _MAX_SUMMARY_BYTES:
                file.write(text)
    except OSError as error:
        raise BadInput(f"{path} cannot be written: {error.strerror}") from None


def _command(line: str, terminal: Terminal, *, as_json: bool) -> None:
    """A line for GitHub's runner, which reads both streams. Standard output of `--json` has JSON only."""
    terminal.command(line, to_notes=as_json)
