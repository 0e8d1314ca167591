"""How a run's time is divided. Pure.

What is needed for the findings comes first and ends when it is done: a longer budget gives it no more to do, only more
time on a busy machine. What is left over goes to playing on.
"""

from __future__ import annotations

from typing import Final, NamedTuple

SHORT_S: Final = 10.0
"""With less there is no time for anything but loading, getting in, and as many controls as can be tried."""
_MOST_LOAD_S: Final = 15.0
_MOST_REAL_S: Final = 4.0
_CONTROLS_S: Final = 18.0
"""What finding the first controls takes where the game is not slow: a short budget goes to that first."""
_LEAST_REAL_S: Final = 2.0


class Schedule(NamedTuple):
    """Seconds from the run's start at which a step ends at the latest.

    Attributes:
        load_s: What loading may take, each time.
        in_by: Getting in ends.
        controls_by: The search for controls ends, where more than a few are known.
        real_s: How long the game is played at true speed; 0: not at all.
        explore_by: Playing ends, so that what it has shown can be reproduced, or a search for controls that goes on;
            then playing gets a little more.
        real_by: Playing at true speed ends.
        standing_by: It is not looked later whether the game still reacts.
        rest_by: What was too slow before playing, and what is hardly meant, is tried until then.
        stress_by: Rough handling ends.
        findings_by: Reproducing ends; the verdict follows.
        end_s: Waiting for a page that does not answer ends.
    """

    load_s: float
    in_by: float
    controls_by: float
    real_s: float
    explore_by: float
    real_by: float
    standing_by: float
    rest_by: float
    stress_by: float
    findings_by: float
    end_s: float


def schedule(budget_s: float) -> Schedule:
    """Divides a budget of at least 5 s. A twentieth is kept for the verdict, 1.3 to 2 s."""
    findings_by = budget_s - min(2.0, max(1.3, budget_s * 0.05))
    short = budget_s < SHORT_S
    return Schedule(
        load_s=min(_MOST_LOAD_S, budget_s * 0.5),
        in_by=budget_s * 0.25,
        controls_by=max(findings_by * 0.45, min(findings_by * (0.9 if short else 0.75), _CONTROLS_S)),
        real_s=0.0 if short else min(_MOST_REAL_S, max(_LEAST_REAL_S, budget_s * 0.1)),
        explore_by=findings_by * 0.72,
        real_by=findings_by * 0.9,
        standing_by=findings_by * 0.94,
        rest_by=findings_by * 0.95,
        stress_by=findings_by * 0.97,
        findings_by=findings_by,
        end_s=budget_s - 0.8,
    )
