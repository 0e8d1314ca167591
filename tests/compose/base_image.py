"""Base images for a machine that reaches no registry of images, made of the Debian packages that it has itself.

What a base holds: the packages named below with all they depend on, as dpkg lists their files, dpkg's own records of
them, and this machine's configuration of apt without any source: what the Dockerfile installs is there already.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

BASE = (
    *("base-files", "base-passwd", "bash", "coreutils", "dash", "debianutils", "diffutils", "dpkg", "findutils"),
    *("grep", "gzip", "hostname", "libc-bin", "login", "mawk", "passwd", "perl-base", "sed", "tar", "util-linux"),
    *("apt", "ca-certificates", "debian-archive-keyring", "wget", "python3", "python3-venv"),
)
"""What an image of Debian with Python has, and wget, which the images of the broker and the proxy have from Alpine."""
BROWSER = ("chromium-headless-shell", "fonts-liberation", "libatomic1")
"""What the agent's image installs: apt-get finds it there already, instead of unpacking 400 MB at every run."""
_DPKG = Path("/var/lib/dpkg")
_UNWANTED = re.compile(
    r"/usr/share/(doc|man|info|locale|lintian|bug|icons|gtk-doc)/.|.*/__pycache__(/|$)"
    r"|/usr/lib/[^/]+/(dri/|libLLVM|libz3|libVkLayer)|/usr/lib/chromium/libVkLayer"
)
"""Papers, and drivers of graphics cards, a third of all that Chromium depends on: headless it draws without."""
_OF_THE_MACHINE = ("/etc/apt/apt.conf.d", "/etc/ssl", "/etc/alternatives", "/etc/ld.so.cache", "/usr/local/share")
_LINKS = {"/usr/bin/python": "python3", "/usr/bin/sh": "dash"} | {
    f"/{name}": f"usr/{name}" for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
}
_MERGED = re.compile(r"^/(?:bin|sbin|lib|lib32|lib64|libx32)(?=/)")
"""Where packages say that files are which are below /usr."""


class Package(NamedTuple):
    """One installed package."""

    name: str
    paragraph: str
    """What dpkg's status file says of it."""
    depends: tuple[tuple[str, ...], ...]
    """Alternatives of each dependency."""
    provides: tuple[str, ...]
    files: Path
    """The list of its files."""


def installed() -> dict[str, Package]:
    """The packages of this machine, by name."""
    found: dict[str, Package] = {}
    for paragraph in (_DPKG / "status").read_text().split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)", paragraph, re.MULTILINE))
        if not fields.get("Status", "").endswith(" installed"):
            continue
        name = fields["Package"]
        lists = (_DPKG / "info" / f"{name}.list", _DPKG / "info" / f"{name}:{fields['Architecture']}.list")
        wanted = [fields.get("Pre-Depends", ""), fields.get("Depends", "")]
        depends = tuple(tuple(_names(each, "|")) for line in wanted for each in line.split(",") if each.strip())
        files = next((each for each in lists if each.exists()), None)
        if files is not None:
            found[name] = Package(name, paragraph, depends, tuple(_names(fields.get("Provides", ""), ",")), files)
    return found


def _names(line: str, separator: str) -> list[str]:
    return [re.split(r"[\s:(]", each.strip())[0] for each in line.split(separator) if each.strip()]


def closure(roots: Iterable[str], packages: dict[str, Package]) -> list[Package]:
    """The packages `roots` with all that they depend on.

    Raises:
        LookupError: one of `roots` is not installed.
    """
    providers = {virtual: each.name for each in packages.values() for virtual in each.provides} | {
        name: name for name in packages
    }
    wanted, found = list(roots), dict[str, Package]()
    if missing := [name for name in wanted if name not in packages]:
        raise LookupError(f"not installed: {', '.join(missing)}")
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        found[name] = packages[name]
        for alternatives in packages[name].depends:
            wanted += [providers[each] for each in alternatives if each in providers][:1]
    return [found[name] for name in sorted(found)]


def _paths(packages: Iterable[Package]) -> Iterator[str]:
    """Each path once, a folder before what is in it."""
    listed = {line for each in packages for line in each.files.read_text().splitlines() if line != "/."}
    below_usr = {_MERGED.sub(lambda found: f"/usr{found[0]}", line) for line in listed}
    yield from sorted((below_usr | {"/tmp", "/var/tmp", "/root", "/run", "/proc", "/sys", "/dev"}) - _LINKS.keys())


def write_base(target: IO[bytes], roots: Iterable[str], further: Callable[[tarfile.TarFile], None]) -> None:
    """Writes the file system of a base image as a tar archive.

    Args:
        roots: packages that it has, with all that they depend on.
        further: adds what else it has.

    Raises:
        LookupError: one of the packages `roots` is not installed.
    """
    packages = closure(roots, installed())
    with tarfile.open(fileobj=target, mode="w|", format=tarfile.GNU_FORMAT) as archive:
        for path in _paths(packages):
            if not _UNWANTED.match(path) and not path.startswith(_OF_THE_MACHINE):
                _add(archive, Path(path))
        for path in _OF_THE_MACHINE:
            if Path(path).exists():
                archive.add(path, path.lstrip("/"))
        for path, to in _LINKS.items():
            _link(archive, path, to)
        for name in ("passwd", "group"):
            text(archive, f"etc/{name}", Path(f"/usr/share/base-passwd/{name}.master").read_text())
        text(archive, "etc/shadow", "root:*:19000:0:99999:7:::\n", 0o600)
        text(archive, "var/lib/dpkg/status", "\n\n".join(each.paragraph for each in packages) + "\n")
        for each in packages:
            for file in (_DPKG / "info").glob(f"{each.files.stem}.*"):
                if file.stem == each.files.stem:  # python3 is not python3.11
                    archive.add(file, str(file).lstrip("/"))
        further(archive)


def _add(archive: tarfile.TarFile, path: Path) -> None:
    """A file may be gone, as those are that this machine was told to leave out."""
    if path.is_symlink() or path.exists():
        archive.add(path, str(path).lstrip("/"), recursive=False)


def _link(archive: tarfile.TarFile, path: str, to: str) -> None:
    entry = tarfile.TarInfo(path.lstrip("/"))
    entry.type, entry.linkname = tarfile.SYMTYPE, to
    archive.addfile(entry)


def text(archive: tarfile.TarFile, path: str, content: str, mode: int = 0o644) -> None:
    """Adds a file."""
    entry, data = tarfile.TarInfo(path), content.encode()
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))
