"""Builds the site from the pages of this repository, with Zensical. Run by `make site`.

`python scripts/build_site.py [DIRECTORY]` writes it to `site/` unless told otherwise. docs/site/navigation.toml says
what is in it. Pages of the repository are copied at each build, with their links changed to where they lead on the
site; pages of reference are made from the code. Zensical then makes the HTML, and a warning of it ends the build.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Final

import site_pages
import site_reference

ROOT: Final = Path(__file__).resolve().parent.parent
SOURCES: Final = ROOT / "docs" / "site"
_SETTINGS_HEAD: Final = """\
# Settings

Everything is set by variables of the environment. This is the table of the README. The settings of a container
installation stand in context in [Running it for others](../deploy.md), those of edges in
[Edges behind a load balancer](../guide-edges.md).

"""
_LIMITS_HEAD: Final = """\
# Limits

What testcast does not do, and what it takes for granted. What it defends against is in [Security](../security.md).

"""


def main() -> None:
    """Builds the site and says where it is."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site"
    try:
        pages = build(out)
    except SiteNotBuilt as error:
        sys.exit(str(error))
    sys.stdout.write(
        f"{pages} pages. Open {out / 'index.html'} in a browser: search works from the file, too. Or serve it:\n"
        f"  {sys.executable} -m http.server --bind 127.0.0.1 --directory {out} 8080\n"
    )


class SiteNotBuilt(Exception):
    """A page has an error, or Zensical warned of one; the message has its words."""


def build(out: Path) -> int:
    """Builds the site into a directory, which is replaced, and returns the number of its pages.

    Raises:
        SiteNotBuilt: Zensical found an error, such as a link that leads nowhere.
    """
    with tempfile.TemporaryDirectory(prefix="testcast-site-") as directory:
        work = Path(directory)
        stage(work)
        answer = subprocess.run(
            [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(work / "zensical.toml")],
            capture_output=True,
            text=True,
            check=False,
        )
        if answer.returncode:
            raise SiteNotBuilt(re.sub(r"\x1b\[[\d;]*m", "", answer.stdout + answer.stderr))
        built = work / "site"
        (built / "sitemap.xml").unlink(missing_ok=True)  # of no use without the site's address
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(built, out)
    return sum(1 for _ in out.rglob("*.html"))


def stage(work: Path) -> None:
    """Writes into a directory what Zensical builds the site from: its configuration and `pages/`."""
    pages = work / "pages"
    sections = tomllib.loads((SOURCES / "navigation.toml").read_text(encoding="utf-8"))["section"]
    nav, used = site_pages.navigation(sections, lambda path: path.startswith("reference/") or _is_file(path))
    settings = (SOURCES / "zensical.toml").read_text(encoding="utf-8")
    _write(work / "zensical.toml", settings.replace("[project]\n", f"[project]\n{nav}\n", 1))
    for name in ("style.css", "iframe-worker.js"):
        _write(pages / "site" / name, (SOURCES / name).read_text(encoding="utf-8"))
    _write(pages / "site" / "logo.svg", (ROOT / "dashboard_ui" / "favicon.svg").read_text(encoding="utf-8"))
    made = reference()
    for path, text in made.items():
        _write(pages / path, text)
    waiting = [path for path in used if path not in made]
    done: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in done:
            continue
        done.add(path)
        waiting += _copied(path, pages)


def reference() -> dict[str, str]:
    """The pages that are made: path among the pages -> text."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    running = site_pages.section(readme, "Running it for others")
    table = running[running.index("| variable |") :]
    table = site_pages.page("README.md", table, _is_file, at="reference/settings.md")
    limits = site_pages.page("README.md", site_pages.section(readme, "Limits"), _is_file, at="reference/limits.md")
    return {
        "reference/python.md": site_reference.python(),
        "reference/command.md": site_reference.command(),
        "reference/settings.md": _SETTINGS_HEAD + table,
        "reference/limits.md": _LIMITS_HEAD + limits,
    }


def _copied(path: str, pages: Path) -> list[str]:
    """Copies one file of the repository to where it stands on the site, and returns the files that it links to."""
    target = pages / site_pages.staged(path)
    if not target.name.endswith(".md"):
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, target)
        return []
    text = (ROOT / path).read_text(encoding="utf-8")
    if not path.endswith(".md"):
        _write(target, site_pages.source(path, text))
        return []
    _write(target, site_pages.page(path, text, _is_file))
    linked = {site_pages.local(link, path) for link in site_pages.links(text)}
    return [each for each in linked if each and _is_file(each) and each != "README.md" and each not in site_pages.MADE]


def _is_file(path: str) -> bool:
    return (ROOT / path).is_file()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
