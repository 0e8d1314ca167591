"""What playing a game needs from the rest of the worker: a job to play, and a run to publish to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import msgspec

from broker.contract import projects
from broker.contract.errors import BadInput
from broker.contract.labels import labels_of
from broker.contract.url_policy import MAX_ALLOWED_HOSTS, GameUrlRefused, allowed_host, check_game_url
from broker.jetstream.runs import Job, make_job


@dataclass(frozen=True, slots=True)
class GameJob:
    """One game to play once.

    Attributes:
        test_id: The run's id, for logs.
        game_url: An address that `broker.contract.url_policy.check_game_url` returned.
        budget_s: Seconds from the start of `play` within which the verdict is published.
        seed: Determines the choices made while exploring.
        title: What viewers see as the run's title.
        allow_private: It may be at a private or loopback address, and so may what it loads.
        project: The run's project.
        allowed_hosts: Hosts, `host` or `host:port`, that may be private all the same.
        labels: The run's labels.
    """

    test_id: str
    game_url: str
    budget_s: float
    seed: int
    title: str = ""
    allow_private: bool = False
    project: str = projects.DEFAULT
    allowed_hosts: frozenset[str] = frozenset()
    labels: Mapping[str, str] | None = None

    @property
    def run_data(self) -> Mapping[str, object]:
        """`data` of the run's first event, where none was stored before the job."""
        named = {} if self.project == projects.DEFAULT else {"project": self.project}
        labelled = {"labels": dict(self.labels)} if self.labels else {}
        return {"gameUrl": self.game_url, "title": self.title, **named, **labelled}


def read_job(test_id: str, payload: bytes) -> GameJob:
    """The job in `payload`. Everything is checked again: anybody may write to the queue.

    Raises:
        BadInput: code `invalid_job`, `invalid_url` or `url_refused`.
    """
    try:
        job = msgspec.json.decode(payload, type=Job)
        private = job.allow_private is True
        hosts, labels = _hosts(job), labels_of(job.labels)
        url, named = check_game_url(job.game_url), job.project if isinstance(job.project, str) else projects.DEFAULT
        job = make_job(url, job.title, job.budget_seconds, job.seed, project=named, allow_private=private)
    except GameUrlRefused:
        raise
    except (BadInput, msgspec.MsgspecError) as error:
        raise BadInput(f"The job cannot be read: {error}", "invalid_job") from None
    fields = (job.game_url, job.budget_seconds, job.seed, job.title, private, named, hosts)
    return GameJob(test_id, *fields, labels=labels)


def _hosts(job: Job) -> frozenset[str]:
    given = () if job.allow_hosts is msgspec.UNSET else job.allow_hosts
    if len(given) > MAX_ALLOWED_HOSTS:
        raise BadInput(f"allowHosts: {len(given)} hosts; at most {MAX_ALLOWED_HOSTS} are taken")
    return frozenset(map(allowed_host, given))


class RunHandle(Protocol):
    """Where a game's test is published, event by event.

    Every method returns when the event is safe (stored, or kept to be stored) and may wait for that. None is called
    after `complete` or `fail`. Calls come from one task, one at a time.
    """

    async def phase(self, n: int, message: str = ...) -> None:
        """The run enters phase `n`: 1 load and validate, 2 discover controls, 3 explore gameplay, 4 evaluate."""

    async def progress(self, message: str, **data: object) -> None:
        """A line in the feed."""

    async def action(self, action: str, message: str | None = None) -> None:
        """The agent does something to the game, such as "Testing WASD movement"."""

    async def complete(self, score: int, metrics: dict[str, object], message: str | None = None) -> None:
        """The verdict: `score` 0 to 100, and the metrics behind it."""

    async def fail(self, message: str, code: str) -> None:
        """There is no verdict on the game: it could not be played at all."""

    async def screenshot(self, jpeg: bytes, on_lost: Callable[[], None] | None = None) -> None:
        """A picture of the game at this moment, a JPEG of at most 64 KiB. `on_lost` is called, perhaps later, when
        viewers will not get it."""

    async def evidence(self, message: str, jpeg: bytes | None, **data: object) -> None:
        """A line in the feed with a picture of its own, a JPEG of at most 64 KiB that no later one replaces. Returns
        when both are stored, or after a bound; the line is then kept to be stored, and the picture may be lost."""
