"""What processes that the command starts find in their environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from testcast import config


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("", None), (":", None), (".", None), ("/a::/b:.", "/a:/b"), ("{cwd}:/a", "/a"), ("./.", None), ("link:/a", "/a")],
)
def test_the_current_directory_is_not_on_the_import_path(
    given: str, wanted: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    environ = {"PYTHONPATH": given.replace("{cwd}", str(tmp_path)).replace(":", os.pathsep)}
    assert config.for_child({}, environ).get("PYTHONPATH") == wanted


def test_login_settings_describe_a_broker() -> None:
    assert config.describes_a_broker({"TESTCAST_NATS_CREDS": "/x"})
    assert config.describes_a_broker({"TESTCAST_NATS_URL": "nats://a"})
    assert not config.describes_a_broker({"TESTCAST_NATS_REPLICAS": "3"})
