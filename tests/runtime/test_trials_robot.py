"""A person judges runs of simulated arms behind the real SDK and CAN frames."""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gigaedge.robot import CAMERA_ROLES
from gigaedge.site import Site
from gigaedge_runtime.run import run_site
from gigaedge_runtime.supervisor import Programs
from gigaedge_runtime.trials_person import Judge

pytestmark = pytest.mark.realtime

HERE = Path(__file__).parent
PROGRAMS = Programs(policy=(sys.executable, str(HERE / "fake_policy.py"), "ramp"))


class Person:
    """Confirms each question once, watches a run for a while, says success."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.began = 0.0
        self.patience = time.monotonic() + 60

    def say(self, line: str) -> None:
        self.said.append(line)
        self.began = time.monotonic()

    def forget(self) -> None:
        assert time.monotonic() < self.patience, self.said

    def pressed(self, timeout: float) -> str | None:
        time.sleep(0.01)
        if not self.said[-1].startswith("it runs"):
            return "\n"
        return "s" if time.monotonic() - self.began > 0.8 else None


def test_a_run_is_scored_by_a_key() -> None:
    data: dict[str, Any] = {
        "bundle": Path("no-such-bundle"),
        "cameras": [{"role": role, "driver": "sim", "width": 160, "height": 120} for role in CAMERA_ROLES],
        "arms": [{"side": side, "driver": "sim"} for side in ("left", "right")],
        "timing": {"replan_after": 15, "max_feedback_age": 0.2},
    }
    person = Person()
    judge = Judge(person, person.say, run=partial(run_site, programs=PROGRAMS))
    episode = judge.episode(Site.model_validate(data), "ramp: episode 1 of 1", attempts=2, limit=20.0)
    assert episode is not None
    (attempt,) = episode.attempts
    assert (attempt.outcome, attempt.reason) == ("success", None)
    assert 0.5 < attempt.seconds < 10.0
    assert attempt.chunks is not None
    assert attempt.chunks >= 1
    assert person.said[-1].endswith("; the arms hold")
