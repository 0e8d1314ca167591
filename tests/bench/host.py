"""The measuring machine: cores, CPU and memory of processes, and the build of the C programs in tests/bench/c.

The server under test runs alone on the first core. Broker, publisher, load generator and this program run on the
second core. Linux only: the figures are read from /proc.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

SERVER_CORE: Final = "0"
MEASURING_CORE: Final = 1
MEMORY: Final = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
"""Directory in memory for files of a measurement; None for the default temporary directory."""
_SOURCES: Final = Path(__file__).parent / "c"
_PROGRAMS: Final = ("load", "pour", "floor", "polls")


def prepare() -> None:
    """Binds this process and its children to the second core.

    Raises:
        SystemExit: no Linux, no taskset, or fewer than two cores.
    """
    if not Path("/proc/self/stat").exists() or shutil.which("taskset") is None:
        sys.exit("bench: needs Linux: /proc, and taskset (package util-linux)")
    if (os.cpu_count() or 1) < 2:
        sys.exit("bench: needs two cores, one for the server and one for the measuring programs")
    os.sched_setaffinity(0, {MEASURING_CORE})


def build(into: Path) -> None:
    """Compiles the C programs into the directory `into`.

    Raises:
        SystemExit: there is no compiler, or a program does not compile.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        sys.exit(
            "bench: needs a C compiler: `cc` was not found (Debian and Ubuntu: sudo apt-get install gcc libc6-dev)"
        )
    for name in _PROGRAMS:
        command = [compiler, "-O2", "-o", str(into / name), str(_SOURCES / f"{name}.c")]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"bench: {name}.c does not compile here:\n{done.stderr}")


def on_cores(cores: str, argv: Iterable[str]) -> list[str]:
    """The command, bound to these cores from its start, because Go and libuv count the cores when they start."""
    return ["taskset", "-c", cores, *argv]


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds that these processes have used: user and system time of all threads.

    Read from schedstat, which counts nanoseconds; /proc/<pid>/stat has a resolution of 10 ms.
    """
    return sum(
        int(thread.read_text().split()[0]) / 1e9
        for pid in pids
        for thread in Path(f"/proc/{pid}/task").glob("*/schedstat")
    )


def waited_s(pids: Iterable[int]) -> float:
    """Seconds that the threads of these processes could have run and had no core, because others did."""
    return sum(
        int(thread.read_text().split()[1]) / 1e9
        for pid in pids
        for thread in Path(f"/proc/{pid}/task").glob("*/schedstat")
    )


def pss_kb(pids: Iterable[int]) -> int:
    """Memory of these processes, KB. Pages that they share count once."""
    return sum(
        int(line.split()[1])
        for pid in pids
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        if line.startswith("Pss:")
    )


def rss_kb(pids: Iterable[int]) -> int:
    """Resident memory of these processes, KB. Pages that they share count for each of them."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def kernel_kb() -> int:
    """Memory that the kernel of this machine has for its objects (slabs), KB: sockets, files, what epoll knows."""
    line = next(each for each in Path("/proc/meminfo").read_text().splitlines() if each.startswith("Slab:"))
    return int(line.split()[1])


def tcp_kb() -> int:
    """Memory that TCP has in buffers on this machine, KB."""
    line = next(each for each in Path("/proc/net/sockstat").read_text().splitlines() if each.startswith("TCP:"))
    return int(line.split()[-1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def open_sockets(pid: int) -> int:
    """Number of open sockets of a process."""
    return sum(str(each.readlink()).startswith("socket:") for each in Path(f"/proc/{pid}/fd").iterdir())


def described() -> str:
    """The machine and its software, in one line."""
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "unknown CPU",
    )
    memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    python = ".".join(map(str, sys.version_info[:3]))
    return f"{os.cpu_count()} processors ({model}), {memory_gb:.0f} GB, Linux {os.uname().release}, Python {python}"
