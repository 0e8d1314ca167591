"""Delta debugging over inputs (minimise.py), against a model of a game whose shortest inputs are known."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from agent_worker.games.actions import key
from agent_worker.games.findings.minimise import Minimal, minimise
from agent_worker.games.inputs import Inputs, Step

KEYS = {name: key(name) for name in "abc"}


@dataclass
class Model:
    """Breaks one frame after keys were pressed in an order, each for so long, and so many frames after the last."""

    wanted: tuple[tuple[str, int, int], ...]
    """Key, least hold, least frames since the wanted one before it began."""
    tried: list[tuple[Inputs, int]] = field(default_factory=list)
    shown: list[Inputs] = field(default_factory=list)

    async def shows(self, inputs: Inputs, until: int) -> int | None:
        self.tried.append((inputs, until))
        frame = self.frame(inputs)
        if frame is None or frame > until:
            return None
        self.shown.append(inputs)
        return frame

    def frame(self, inputs: Inputs) -> int | None:
        """When it breaks: the first steps that fit, in order."""
        last, place = 0, 0
        for step in sorted(inputs.steps, key=lambda step: step.at):
            if place == len(self.wanted):
                break
            name, hold, wait = self.wanted[place]
            if step.action.name == name and step.hold >= hold and step.at >= last + wait:
                last, place = step.at, place + 1
        return last + 1 if place == len(self.wanted) else None


def inputs_of(steps: list[tuple[str, int, int]]) -> Inputs:
    """Steps one after another, each with its key, the frames before it and its hold."""
    at, made = 0, []
    for name, gap, hold in steps:
        made.append(Step(at + gap, KEYS[name], hold))
        at = made[-1].end
    return Inputs(tuple(made))


STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30), st.integers(1, 20)), max_size=12)
WANTED = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6), st.integers(0, 12)), max_size=3)


@given(STEPS, WANTED, st.integers(0, 60))
async def test_the_result_was_seen_and_is_no_longer(
    steps: list[tuple[str, int, int]], wanted: list[tuple[str, int, int]], tries: int
) -> None:
    model, inputs = Model(tuple(wanted)), inputs_of(steps)
    found = await minimise(inputs, 10_000, model.shows, tries=tries)
    assert len(model.tried) <= tries
    if found is None:
        assert not model.shown
        return
    assert found.inputs in model.shown, "it was itself seen to show it"
    assert found.tries == len(model.tried)
    assert len(found.inputs.steps) <= len(steps) and found.inputs.end <= inputs.end
    assert found.until == model.frame(found.inputs)


@given(STEPS, WANTED)
async def test_with_time_enough_nothing_can_be_left_out(
    steps: list[tuple[str, int, int]], wanted: list[tuple[str, int, int]]
) -> None:
    model, inputs = Model(tuple(wanted)), inputs_of(steps)
    found = await minimise(inputs, 10_000, model.shows, tries=10_000)
    assert (found is None) == (model.frame(inputs) is None)
    if found is None:
        return
    assert found.finished and len(found.inputs.steps) == len(wanted)
    for place, step in enumerate(found.inputs.steps):
        rest = Inputs((*found.inputs.steps[:place], *found.inputs.steps[place + 1 :]))
        assert model.frame(rest) is None
        assert step.hold == wanted[place][1], "holds are as short as they can be"
    begun = ended = 0
    for step, (_, _, wait) in zip(found.inputs.steps, wanted, strict=True):
        assert step.at == max(ended, begun + wait), "nothing is waited for that is not needed"
        begun, ended = step.at, step.end


async def test_no_inputs_are_the_shortest() -> None:
    model = Model(())
    found = await minimise(inputs_of([("a", 5, 5), ("b", 5, 5)]), 100, model.shows)
    assert found == Minimal(Inputs(), 1, 2, True)


async def test_it_stops_when_the_time_is_over() -> None:
    model, left = Model((("a", 1, 0),)), iter([False, False, False])
    found = await minimise(
        inputs_of([("b", 1, 1)] * 8 + [("a", 1, 9)]), 100, model.shows, expired=lambda: next(left, True)
    )
    assert found is not None and not found.finished and len(model.tried) == 3


async def test_what_comes_after_the_fault_is_left_out_at_once() -> None:
    model = Model((("a", 1, 0),))
    await minimise(inputs_of([("a", 1, 1), ("b", 50, 1)]), 10, model.shows)
    assert model.tried[0][0] == inputs_of([("a", 1, 1)])
