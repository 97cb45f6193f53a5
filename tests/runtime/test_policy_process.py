"""The policy loop on fake cameras and a fake clock: what it refuses, what it publishes, when."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge.errors import BundleError
from gigaedge.robot import CAMERA_ROLES, ROBOT_DIM
from gigaedge.site import ExecutionConfig, Site
from gigaedge_runtime import Observation, Policy, policy_process
from gigaedge_runtime.capture import CapturedViews, Refusal
from gigaedge_runtime.devices import Frame
from gigaedge_runtime.latency_path import Handover
from gigaedge_runtime.mailbox import Board, ControlStatus, Phase
from gigaedge_runtime.policy_process import Planner, PolicyLoop, load_planner
from gigaedge_runtime.report import CameraHealth
from gigaedge_runtime.rtc import Guidance
from gigaedge_runtime.states import State


@dataclass
class FakeChunk:
    actions: NDArray[np.float32]
    rate_hz: float = 30.0
    timings: Mapping[str, float] = field(default_factory=lambda: {"context": 0.1, "steps": 0.2})
    inputs: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


class Bench:
    """A loop whose cameras and planner are scripted; planning takes 0.3 s of fake time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 50.0
        self.age, self.fresh = 0.02, True
        self.late = 0.0
        self.refusal: Refusal | None = None
        self.planned: list[NDArray[np.float32]] = []
        self.fd = Board.create()
        self.control, board = Board(self.fd), Board(self.fd)
        site = Site.model_validate(
            {
                "bundle": Path("bundle"),
                "cameras": [{"role": role, "driver": "sim"} for role in CAMERA_ROLES],
                "arms": [{"side": "left", "driver": "sim"}, {"side": "right", "driver": "sim"}],
                "timing": {"replan_after": 30},
            }
        )
        self.guidance: list[Guidance] = []
        planner = Planner((32, 40), "tshape", self.plan, self.plan_guided)
        self.loop = PolicyLoop(site, planner, self, board, clock=lambda: self.now)  # type: ignore[arg-type]
        monkeypatch.setattr(policy_process, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def observe(self, now: float, max_age: float, max_skew: float) -> CapturedViews | Refusal:
        if self.refusal is not None:
            return self.refusal
        captured = now - self.age
        picture = np.full((24, 32, 3), 9, np.uint8)
        frames = {role: Frame(role, picture, 1, captured, captured + self.late) for role in CAMERA_ROLES}
        return CapturedViews(frames, self.age, 0.0, self.fresh)

    def odd_frames(self) -> dict[str, int]:
        return {"out_of_order": 2}

    def health(self) -> list[CameraHealth]:
        return [CameraHealth("cam_high", "realsense", frames=3)]

    def plan(self, composite: NDArray[np.uint8], state: NDArray[np.float32]) -> FakeChunk:
        assert composite.shape == (40, 32, 3)
        self.planned.append(state)
        self.now += 0.3
        return FakeChunk(np.tile(state, (48, 1)))

    def plan_guided(
        self, composite: NDArray[np.uint8], state: NDArray[np.float32], guidance: Guidance
    ) -> FakeChunk:
        self.guidance.append(guidance)
        return self.plan(composite, state)

    def follow(self, chunk: int, state: State = State.RUNNING) -> None:
        """Control says what the arms do."""
        self.control.status.publish(ControlStatus(heartbeat=self.now, state=state, chunk=chunk))

    def replan(self) -> None:
        """The next chunk, on an observation 0.7 s later."""
        self.now += 0.4
        self.measure()
        assert self.loop.step()

    def measure(self, until: float = 0.005) -> None:
        """Control's states of the last half second; each holds its own time."""
        for k in range(101):
            t = self.now - 0.5 + 0.005 * k + until
            self.control.states.push(t, np.full(ROBOT_DIM, t - 50.0))


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    bench = Bench(monkeypatch)
    yield bench
    os.close(bench.fd)


def test_it_publishes_a_chunk_with_the_time_of_its_pictures(bench: Bench) -> None:
    bench.measure()
    assert bench.loop.step()
    chunk = bench.control.chunks.newest()
    assert chunk is not None
    assert (chunk.id, chunk.rate) == (1, 30.0)
    assert chunk.observed == pytest.approx(50.0 - 0.02)
    assert chunk.actions.shape == (48, ROBOT_DIM)
    np.testing.assert_allclose(bench.planned[0], -0.02, atol=1e-6, err_msg="the state at the pictures' time")


def test_it_waits_for_the_relief_minus_its_own_latency(bench: Bench) -> None:
    bench.measure()
    bench.loop.step()
    observed = 50.0 - 0.02
    latency = 0.32
    bench.now = observed + 30 / 30 - latency - 1e-6
    bench.measure()
    assert not bench.loop.step()
    bench.now += 2e-6
    assert bench.loop.step()
    assert len(bench.planned) == 2


def test_a_state_that_follows_soon_is_waited_for_and_one_that_does_not_is_refused(bench: Bench) -> None:
    bench.measure(until=-0.05)
    begin = bench.now
    assert not bench.loop.step()
    assert 0.03 <= bench.now - begin < 0.04
    status = bench.control.planner.latest()
    assert status is not None
    assert status.refused == 1
    assert "newest measured state is" in status.reason
    assert not bench.planned
    bench.measure()
    assert bench.loop.step()
    status = bench.control.planner.latest()
    assert status is not None
    assert (status.refused, status.reason) == (1, ""), "a chunk ends the complaint"


def test_pictures_that_are_refused_are_counted_by_reason(bench: Bench) -> None:
    bench.refusal = Refusal("stale", "cam_high", 0.5, 0.2)
    assert not bench.loop.step()
    bench.refusal = Refusal("skew", "cam_high", 0.1, 0.05)
    assert not bench.loop.step()
    assert bench.loop.report().refused == {"stale": 1, "skew": 1}
    assert bench.control.chunks.newest() is None


def test_the_same_pictures_are_not_used_twice(bench: Bench) -> None:
    bench.measure()
    bench.fresh = False
    assert not bench.loop.step()
    assert bench.loop.report().refused == {}
    assert not bench.planned


def test_it_shows_that_it_is_alive_while_it_waits(bench: Bench) -> None:
    bench.measure()
    bench.loop.step()
    bench.now += 0.01
    bench.loop.step()
    status = bench.control.planner.latest()
    assert status is not None
    assert (status.phase, status.heartbeat, status.chunks) == (Phase.READY, bench.now, 1)


def test_its_report_has_every_stage(bench: Bench) -> None:
    bench.measure()
    bench.loop.step()
    stages = bench.loop.report().stages
    assert stages["wait"].p50 == pytest.approx(0.02)
    assert stages["context"].p50 == 0.1
    assert stages["inference"].p50 == pytest.approx(0.3)
    assert stages["total"].p50 == pytest.approx(0.32)
    assert {"state", "compose", "steps", "publish"} <= stages.keys()
    assert bench.loop.report().odd_frames == {"out_of_order": 2}
    assert [camera.frames for camera in bench.loop.report().cameras] == [3]


def test_a_chunk_continues_the_one_that_the_arms_follow(bench: Bench) -> None:
    bench.measure()
    bench.loop.step()
    first = bench.control.chunks.newest()
    assert first is not None
    assert first.delay == 0.0
    bench.follow(chunk=1)
    bench.replan()
    (guidance,) = bench.guidance
    # 0.02 s old pictures, 0.3 s of inference, and a period until control takes it.
    assert guidance.delay == pytest.approx(0.02 + 0.3 + 0.005)
    np.testing.assert_allclose(guidance.previous, np.tile(first.actions[0], (48, 1)), atol=1e-6)
    assert (guidance.weight[:11] == 1).all()
    assert guidance.weight[11] < 1
    second = bench.control.chunks.newest()
    assert second is not None
    assert second.delay == guidance.delay
    report = bench.loop.report()
    assert (report.chunks, report.guided) == (2, 1)


@pytest.mark.parametrize(
    ("chunk", "state"), [(1, State.HOLD), (1, State.APPROACH), (1, State.DISARMED), (0, State.RUNNING)]
)
def test_arms_that_do_not_follow_the_last_chunk_get_a_free_one(
    bench: Bench, chunk: int, state: State
) -> None:
    bench.measure()
    bench.loop.step()
    bench.follow(chunk, state)
    bench.replan()
    assert bench.guidance == []
    record = bench.control.chunks.newest()
    assert record is not None
    assert (record.id, record.delay) == (2, 0.0)


def test_a_chunk_that_control_will_refuse_is_not_continued(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = bench.plan

    def broken(composite: NDArray[np.uint8], state: NDArray[np.float32]) -> FakeChunk:
        return FakeChunk(plan(composite, state).actions * np.nan)

    monkeypatch.setattr(bench.loop, "planner", Planner((32, 40), "tshape", broken, bench.plan_guided))
    bench.measure()
    bench.loop.step()
    bench.follow(chunk=1)
    bench.replan()
    assert bench.guidance == []


def test_a_site_that_wants_real_time_chunking_needs_a_bundle_that_can(
    exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site.model_validate(
        {
            "bundle": exported("gwp05-tiny"),
            "cameras": [{"role": role, "driver": "sim"} for role in CAMERA_ROLES],
            "arms": [{"side": "left", "driver": "sim"}, {"side": "right", "driver": "sim"}],
            "execution": {"handover": "rtc"},
        }
    )
    assert load_planner(site).guided is not None
    monkeypatch.setattr("gigaedge_runtime.policy.takes_guidance", lambda graph: False)
    with pytest.raises(BundleError, match="no inputs for real-time chunking"):
        load_planner(site)
    other = site.model_copy(update={"execution": ExecutionConfig(handover="crossfade")})
    assert load_planner(other).guided is None


def test_the_planner_samples_as_the_site_says(exported: Callable[..., Path]) -> None:
    bundle = exported("gwp05-tiny")
    site = Site.model_validate(
        {
            "bundle": bundle,
            "cameras": [{"role": role, "driver": "sim"} for role in CAMERA_ROLES],
            "arms": [{"side": "left", "driver": "sim"}, {"side": "right", "driver": "sim"}],
            "inference": {"steps": 4, "solver": "multistep", "seed": 5},
        }
    )
    policy = Policy.load(bundle, steps=4, solver="multistep", seed=5)
    example = Observation.make_example(policy.manifest.view)
    policy.chunk(example)  # the planner was warmed up by one
    expected = policy.chunk(example).actions
    planner = load_planner(site)
    np.testing.assert_array_equal(planner.plan(example.composite, example.state).actions, expected)
    assert list(planner.ran_on) == ["CPUExecutionProvider"]


def test_the_way_of_a_chunk_is_known_once_control_has_sent_it(bench: Bench) -> None:
    bench.measure()
    bench.loop.step()
    assert bench.loop.report().path is None, "published, not sent"
    published = bench.now
    bench.control.handover.publish(
        Handover(1, published + 0.004, published + 0.005, published + 0.006, published + 0.007, powered=1.0)
    )
    path = bench.loop.report().path
    assert path is not None
    assert path.exposure_to_can.p50 == pytest.approx(0.02 + 0.3 + 0.006)
    assert path.exposure_to_last_frame.p50 == pytest.approx(0.02 + 0.3 + 0.007)
    assert path.stages["transport"].p50 == 0.0
    assert path.by_arrival == 1, "which is why"
    assert path.stages["wait"].p50 == pytest.approx(0.02)
    assert path.inference["steps"].p50 == pytest.approx(0.2)
    assert path.stages["hand_over"].p50 == pytest.approx(0.004)


def test_the_last_chunk_that_was_sent_is_counted_before_the_next_overtakes_it(bench: Bench) -> None:
    bench.measure()
    bench.loop.step()
    bench.control.handover.publish(Handover(1, *[bench.now + 0.001] * 4, powered=1.0))
    bench.replan()
    bench.control.handover.publish(Handover(2, *[bench.now + 0.001] * 4, powered=1.0))
    path = bench.loop.report().path
    assert path is not None
    assert path.exposure_to_can.count == 2


def test_a_cameras_latency_is_part_of_the_way(bench: Bench) -> None:
    bench.late = 0.015
    bench.measure()
    bench.loop.step()
    bench.control.handover.publish(Handover(1, *[bench.now] * 4, powered=1.0))
    path = bench.loop.report().path
    assert path is not None
    assert path.stages["transport"].p50 == pytest.approx(0.015)
    assert path.stages["wait"].p50 == pytest.approx(0.02 - 0.015)
    assert path.by_arrival == 0, "calibrated, the exposure is known"
