"""Files of the command appear whole or not at all (testcast/cli/new_file.py), in the format that was asked for."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from broker.contract.errors import BadInput
from testcast.cli.export import STDOUT, format_of
from testcast.cli.new_file import check_new, new_file


def names(folder: Path) -> list[str]:
    return [each.name for each in folder.iterdir()]


def test_a_file_gets_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    with new_file(path, force=False) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"
    assert names(tmp_path) == ["run.html"]


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    path.write_bytes(b"before")
    with pytest.raises(OSError, match="No space"), new_file(path, force=True) as file:
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == ["run.html"]
    assert path.read_bytes() == b"before"


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), new_file(tmp_path / "run.html", force=False) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_a_file_that_exists_is_replaced_only_on_demand(tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    path.write_bytes(b"before")
    with pytest.raises(BadInput, match="--force"), new_file(path, force=False):
        pass
    with new_file(path, force=True) as file:
        file.write(b"after")
    assert path.read_bytes() == b"after"


def test_one_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    with pytest.raises(BadInput, match="exists"), new_file(path, force=False):
        path.write_bytes(b"another's")
    assert path.read_bytes() == b"another's"
    assert names(tmp_path) == ["run.html"]


def test_what_is_no_place_for_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no directory"):
        check_new(tmp_path / "missing" / "run.html", force=False)
    for path in (tmp_path, Path(os.devnull)):
        with pytest.raises(BadInput, match="no file"):
            check_new(path, force=True)


@pytest.mark.parametrize(
    ("chosen", "output", "expected"),
    [
        ([], None, "html"),
        ([], STDOUT, "html"),
        ([], Path("report.XML"), "junit"),
        ([], Path("run.webp"), "webp"),
        ([], Path("run.txt"), "html"),
        (["json"], Path("report.xml"), "json"),
        (["gif"], None, "gif"),
    ],
)
def test_the_ending_chooses_the_format_unless_an_option_does(
    chosen: list[str], output: Path | None, expected: str
) -> None:
    assert format_of(chosen, output) == expected


def test_two_formats_at_once_are_refused() -> None:
    with pytest.raises(BadInput, match="--json, --gif"):
        format_of(["json", "gif"], None)
