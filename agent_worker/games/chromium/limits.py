"""What one game may take of the machine, and what it means that it took more. Pure; processes.py measures."""

from __future__ import annotations

from typing import Final, NamedTuple

THREADS_PER_PROCESS: Final = 16
"""A browser's own processes have 1 to 31 threads, and each worker of a page is one more."""
_MB: Final = 1 << 20
_HARD_MEMORY_FACTOR: Final = 2
"""One process can never have more than this many times the limit, not even between two looks."""


class Usage(NamedTuple):
    """What the processes of one browser take together, at one moment."""

    memory_bytes: int = 0
    """Anonymous and shared memory that is resident. What several processes share counts for each."""
    processes: int = 0
    threads: int = 0
    disk_bytes: int = 0
    """Files in the run's directory."""


class Limits(NamedTuple):
    """What one run's browser may take, its own needs included: 250 MB and a dozen processes for an empty page."""

    memory_mb: int = 2048
    """MiB. Large enough for a game of today's engines with its textures."""
    processes: int = 64
    """And `THREADS_PER_PROCESS` times as many threads."""
    disk_mb: int = 512
    """MiB, for one file and for all together: cache and storage of the page."""

    def exceeded(self, usage: Usage) -> str | None:
        """Which limit `usage` is beyond, as the end of the sentence "The game was stopped: it …"; None for none."""
        if usage.memory_bytes > self.memory_mb * _MB:
            return f"took more than {self.memory_mb} MB of memory"
        if usage.processes > self.processes:
            return f"started more than {self.processes} processes"
        if usage.threads > self.processes * THREADS_PER_PROCESS:
            return f"started more than {self.processes * THREADS_PER_PROCESS} threads"
        if usage.disk_bytes > self.disk_mb * _MB:
            return f"wrote more than {self.disk_mb} MB to the disk"
        return None

    def of_the_kernel(self, own_user: bool) -> dict[str, int]:
        """The bounds that the kernel keeps for each process, by their names in `resource`: a second wall.

        Args:
            own_user: the browser runs as a user that nothing else runs as; only then can its threads be bounded.
        """
        bounds = {
            "RLIMIT_CORE": 0,
            "RLIMIT_DATA": _HARD_MEMORY_FACTOR * self.memory_mb * _MB,
            "RLIMIT_FSIZE": self.disk_mb * _MB,
        }
        if own_user:
            bounds["RLIMIT_NPROC"] = self.processes * THREADS_PER_PROCESS
        return bounds
