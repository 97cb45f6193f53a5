"""A person as the judge, with scripted keys: what is counted, what stops, and that nothing moves unasked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from gigaedge.errors import ArmError, BundleError, GigaedgeError
from gigaedge.site import Site
from gigaedge.trials import EpisodeInfo
from gigaedge_runtime.children import StopFlag
from gigaedge_runtime.mailbox import ControlStatus, PlannerStatus
from gigaedge_runtime.report import RunReport
from gigaedge_runtime.supervisor import Progress
from gigaedge_runtime.trials_person import Judge
from tests.runtime.lockstep_cell import lockstep_site

ENTER = "\n"


class Keys:
    """What is pressed after each question, key by key."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.keys: list[str] = []
        self.forgotten = 0
        self.patience = 5000

    def pressed(self, timeout: float) -> str | None:
        time.sleep(0.001)
        self.patience -= 1
        assert self.patience, "nobody answers"
        return self.keys.pop(0) if self.keys else None

    def forget(self) -> None:
        self.forgotten += 1
        self.keys = list(self.answers.pop(0))


@dataclass
class Robot:
    """Runs as `run_site` does, in no time: each ends when it is asked to, or with its time, or as scripted."""

    raises: list[GigaedgeError | None] = field(default_factory=list)
    starts: bool = True
    runs: int = 0
    durations: list[float] = field(default_factory=list)
    interrupted: bool = False

    def __call__(
        self, site: Site, *, duration: float, on_progress: Callable[[Progress], None], stop: StopFlag
    ) -> RunReport:
        self.runs += 1
        self.durations.append(duration)
        error = self.raises.pop(0) if self.raises else None
        if error is not None and not self.starts:
            raise error
        on_progress(Progress(0.0, ControlStatus(), PlannerStatus()))
        on_progress(Progress(0.5, ControlStatus(), PlannerStatus()))
        if error is not None:
            raise error
        deadline = time.monotonic() + 0.1
        while not stop.requested and time.monotonic() < deadline:
            time.sleep(0.001)
        ended_by = "signal" if stop.requested or self.interrupted else "duration"
        return RunReport(ended_by, None, 2.5, False, {}, 4, None, None)


def judged(robot: Robot, *keys: str, attempts: int = 3) -> tuple[EpisodeInfo | None, list[str], Keys]:
    """The episode, what the person was told, and the keys that are left."""
    said: list[str] = []
    pressed = Keys(*keys)
    judge = Judge(pressed, said.append, run=robot)
    return (
        judge.episode(lockstep_site(), "towel: episode 1 of 2", attempts=attempts, limit=9.0),
        said,
        pressed,
    )


def outcomes(episode: EpisodeInfo | None) -> list[str]:
    assert episode is not None
    return [attempt.outcome for attempt in episode.attempts]


def test_a_failure_is_tried_again_and_a_success_ends_the_episode() -> None:
    robot = Robot()
    episode, said, keys = judged(robot, "x" + ENTER + "fs", ENTER + "xs")
    assert outcomes(episode) == ["judged", "success"]
    assert episode is not None
    assert (episode.seed, episode.seconds, episode.attempts[0].chunks) == (None, 5.0, 4)
    assert robot.durations == [9.0, 9.0]
    assert keys.forgotten == 2, "nothing pressed before a question answers it"
    assert said[0] == (
        "towel: episode 1 of 2, attempt 1 of 3: set the scene. Enter: the arms will move. q: end the trials."
    )
    assert said[1] == "it runs. s: success. f: failure. q: end the trials."
    assert said[2] == "towel: episode 1 of 2, attempt 1 of 3: judged after 2.5 s; the arms hold"
    assert "attempt 2 of 3: reset what the next attempt needs" in said[3]


def test_without_a_confirmation_nothing_runs() -> None:
    robot = Robot()
    episode, said, _ = judged(robot, "sfyq")
    assert episode is None
    assert robot.runs == 0
    assert len(said) == 1


def test_the_time_is_over() -> None:
    episode, _, _ = judged(Robot(), ENTER, attempts=1)
    assert outcomes(episode) == ["time"]


def test_q_while_it_runs_counts_nothing() -> None:
    episode, _, _ = judged(Robot(), ENTER + "q")
    assert episode is None


def test_ctrl_c_while_it_runs_counts_nothing() -> None:
    episode, _, _ = judged(Robot(interrupted=True), ENTER)
    assert episode is None


def test_a_fault_is_an_attempt_that_failed() -> None:
    robot = Robot(raises=[ArmError("the left arm felt a collision; the arms hold")])
    episode, said, _ = judged(robot, ENTER, ENTER + "s")
    assert outcomes(episode) == ["fault", "success"]
    assert episode is not None
    assert episode.attempts[0].reason == "the left arm felt a collision; the arms hold"
    assert said[2].endswith("the arms hold; the left arm felt a collision; the arms hold")


def test_what_never_began_is_said_and_asked_again() -> None:
    robot = Robot(raises=[ArmError("left arm: latched; gigaedge arms clear")], starts=False)
    episode, said, _ = judged(robot, ENTER, ENTER + "s")
    assert outcomes(episode) == ["success"]
    assert said[1] == "it did not begin, and counts nothing: left arm: latched; gigaedge arms clear"
    assert "attempt 1 of 3: set the scene" in said[2]


def test_what_can_never_begin_is_raised() -> None:
    with pytest.raises(BundleError, match="no bundle"):
        judged(Robot(raises=[BundleError("no bundle")], starts=False), ENTER)
