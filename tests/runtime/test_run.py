"""Three processes, simulated arms behind the real SDK and cameras behind librealsense; what kills what."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from gigaedge.benchmark import PATH_STAGES
from gigaedge.errors import (
    ArmError,
    BundleError,
    CameraError,
    CheckFailedError,
    ConfigError,
    ProcessError,
)
from gigaedge.robot import CAMERA_ROLES
from gigaedge.site import Site, load_site
from gigaedge_runtime.children import python_module, wait_until
from gigaedge_runtime.devices.sim_piper import SimulatedPiper
from gigaedge_runtime.latch import clear_latch, read_latch
from gigaedge_runtime.mailbox import ControlStatus, Order, PlannerStatus
from gigaedge_runtime.report import RunReport
from gigaedge_runtime.run import attend_arms, run_site
from gigaedge_runtime.states import State
from gigaedge_runtime.statistics import TICK_STAGES
from gigaedge_runtime.supervisor import Programs, Progress

pytestmark = pytest.mark.realtime

HERE = Path(__file__).parent
HOME = (-2.0, 1.2, -1.0, 0.0, 0.5, 0.0, 0.03)


def programs(mode: str = "ramp") -> Programs:
    return Programs(policy=(sys.executable, str(HERE / "fake_policy.py"), mode))


def site_data(arms: list[dict[str, Any]], **sections: Any) -> dict[str, Any]:
    return {
        "schema": 1,
        "bundle": "no-such-bundle",
        "cameras": [{"role": role, "driver": "sim", "width": 160, "height": 120} for role in CAMERA_ROLES],
        "arms": arms,
        "timing": {"replan_after": 15, "max_feedback_age": 0.1},
        **sections,
    }


def simulated(**sections: Any) -> Site:
    """Arms that `run_site` hosts."""
    arms = [{"side": side, "driver": "sim", "home": list(HOME)} for side in ("left", "right")]
    return Site.model_validate(site_data(arms, **sections))


@dataclass
class Watch:
    """Arms that this test hosts and looks at 200 times a second, whoever drives them."""

    left: SimulatedPiper
    right: SimulatedPiper
    samples: list[tuple[float, tuple[float, ...]]] = field(default_factory=list)

    def data(self, park: tuple[float, ...] | None = None, **sections: Any) -> dict[str, Any]:
        can = {"interface": "gigaedge-sim"}
        pose = {"park": list(park)} if park else {}
        return site_data(
            [
                {"side": "left", "driver": "piper", "can": {**can, "channel": self.left.channel}, **pose},
                {"side": "right", "driver": "piper", "can": {**can, "channel": self.right.channel}, **pose},
            ],
            **sections,
        )

    def site(self, **sections: Any) -> Site:
        return Site.model_validate(self.data(**sections))

    def look(self, stop: threading.Event) -> None:
        while not stop.wait(0.005):
            self.samples.append((time.monotonic(), self.left.joints + self.right.joints))

    def speed_at(self, moment: float) -> float:
        """Largest joint speed in the 50 ms before a moment, rad/s."""
        near = [s for s in self.samples if moment - 0.05 <= s[0] <= moment]
        return float(np.abs(np.subtract(near[-1][1], near[0][1])).max() / (near[-1][0] - near[0][0]))

    def moved_after(self, moment: float) -> float:
        """How long after a moment a joint was last more than 2 mrad from where it stands now, s."""
        end = np.array(self.samples[-1][1])
        late = [t for t, q in self.samples if t > moment and np.abs(end - q).max() > 2e-3]
        return late[-1] - moment if late else 0.0

    def assert_standing(self) -> None:
        before = self.left.joints + self.right.joints
        time.sleep(0.3)
        np.testing.assert_allclose(self.left.joints + self.right.joints, before, atol=1e-4)
        assert self.left.enabled
        assert self.right.enabled
        assert self.left.power_cuts == self.right.power_cuts == 0


@pytest.fixture
def watch() -> Iterator[Watch]:
    name = f"test-run-{os.getpid()}-{time.monotonic_ns()}"
    stop = threading.Event()
    with SimulatedPiper(f"{name}-l", HOME) as left, SimulatedPiper(f"{name}-r", HOME) as right:
        watch = Watch(left, right)
        thread = threading.Thread(target=watch.look, args=(stop,))
        thread.start()
        yield watch
        stop.set()
        thread.join()


def own_children() -> set[str]:
    """Process ids of this process's children, zombies included; other tests' libraries may keep some."""
    return {
        pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()
    }


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No thread, no descriptor and no child process survives a test."""
    threads, descriptors = set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    handler, children = signal.getsignal(signal.SIGINT), own_children()
    yield
    assert set(threading.enumerate()) <= threads
    assert len(os.listdir("/proc/self/fd")) <= descriptors
    assert signal.getsignal(signal.SIGINT) is handler
    assert own_children() <= children


def gone(pid: int) -> bool:
    """No such process, or one that nobody has waited for yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def when(
    condition: Callable[[Progress], bool], action: Callable[[Progress], None]
) -> Callable[[Progress], None]:
    """An `on_progress` that acts once."""
    done: list[bool] = []

    def look(progress: Progress) -> None:
        if not done and condition(progress):
            done.append(True)
            action(progress)

    return look


def running(progress: Progress) -> bool:
    return progress.control.state is State.RUNNING and progress.elapsed > 1.0


def test_a_run_from_start_to_end(tmp_path: Path) -> None:
    seen: list[Progress] = []
    result = run_site(
        simulated(),
        duration=2.5,
        report=tmp_path / "out" / "report.json",
        on_progress=seen.append,
        programs=programs(),
    )
    control, policy = result.control, result.policy
    assert control is not None
    assert policy is not None
    assert (result.ended_by, result.error) == ("duration", None)
    assert result.duration == pytest.approx(2.5, abs=0.3)
    states = [change.state for change in control.states]
    assert (states[0], states[-2:]) == ("approach", ["running", "stopped"])
    assert control.fault is None
    assert control.enabled == {"left": True, "right": True}
    assert policy.chunks == result.chunks >= 4
    assert control.chunks == sorted(control.chunks)
    for side in ("left", "right"):
        assert 0.8 < control.travel_measured[f"{side}_joint_1"] < 2.2
        assert control.travel_commanded[f"{side}_joint_1"] == pytest.approx(
            control.travel_measured[f"{side}_joint_1"], rel=0.05
        )
        assert abs(control.end_error[f"{side}_joint_1"]) < 2e-3
    assert control.failed_sends == 0
    assert control.sends > 2 * 200 * 2
    assert control.period.p50 == pytest.approx(0.005, abs=5e-4)
    assert set(policy.stages) == {
        "transport", "wait", "state", "compose", "inference", "context", "steps", "publish", "total",
    }  # fmt: skip
    assert policy.stages["total"].p50 > policy.stages["inference"].p50 > 0.02
    path = policy.path
    assert path is not None
    assert tuple(path.stages) == PATH_STAGES
    assert 3 <= path.exposure_to_can.count <= policy.chunks
    assert sum(stage.mean for stage in path.stages.values()) == pytest.approx(
        path.exposure_to_can.mean, rel=1e-9
    )
    assert min(stage.min for stage in path.stages.values()) >= 0.0
    assert path.stages["inference"].min > 0.02, "the fake policy sleeps for so long"
    assert path.exposure_to_last_frame.mean > path.exposure_to_can.mean > policy.stages["inference"].min
    assert path.by_arrival == 0
    assert list(control.stages) == list(TICK_STAGES)
    assert sum(stage.mean for stage in control.stages.values()) == pytest.approx(control.work.mean, rel=1e-6)
    assert set(result.memory) == {"supervisor", "control", "policy"}
    assert min(result.memory.values()) > 10 << 20
    assert len(seen) >= 4
    assert seen[-1].policy.chunks >= 3
    assert set(result.pids) == {"supervisor", "control", "policy"}
    assert all(gone(result.pids[name]) for name in ("control", "policy"))
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert written["control"]["chunks"] == control.chunks
    assert written["pids"] == result.pids


def test_one_armed_and_dry(tmp_path: Path) -> None:
    arms = [
        {"side": "left", "driver": "sim", "home": list(HOME)},
        {"side": "right", "driver": "absent", "pose": [0, 0, 0, 0, 0, 0, 0]},
    ]
    site = Site.model_validate(site_data(arms))
    result = run_site(site, duration=0.7, dry_run=True, programs=programs())
    assert result.control is not None
    assert result.dry_run
    assert result.chunks >= 1
    assert result.policy is not None
    assert result.policy.path is None
    assert result.control.sends == 0
    assert result.control.states[0].state == "stopped"
    assert result.control.enabled == {"left": False}
    assert max(result.control.travel_measured.values()) < 1e-3
    assert set(result.control.clamps.position) == set(result.control.travel_measured)
    assert not any(name.startswith("right") for name in result.control.travel_measured)


def test_kill_9_of_the_policy_process(watch: Watch, tmp_path: Path) -> None:
    killed: list[float] = []

    def kill(progress: Progress) -> None:
        pid = next(
            int(p) for p in os.listdir("/proc")
            if p.isdigit() and b"fake_policy.py" in _command_line(p) and _parent(p) == os.getpid()
        )  # fmt: skip
        os.kill(pid, signal.SIGKILL)
        killed.append(time.monotonic())

    with pytest.raises(
        ProcessError, match=r"the policy process \(pid \d+\) was killed by SIGKILL; the arms hold"
    ):
        run_site(
            watch.site(),
            duration=20,
            report=tmp_path / "report.json",
            on_progress=when(running, kill),
            programs=programs(),
        )
    assert watch.speed_at(killed[0]) > 0.2, "the arms were moving"
    assert watch.moved_after(killed[0]) < 0.3, "from the kill to standstill, seen from outside"
    watch.assert_standing()
    report = json.loads((tmp_path / "report.json").read_text())
    control = report["control"]
    assert report["ended_by"] == "ProcessError"
    assert (control["state"], control["fault_code"]) == ("fault", "policy")
    assert control["fault"] == "the policy process died"
    assert control["held_after"] < 0.3
    assert control["standstill_after"] < 0.3
    assert control["enabled"] == {"left": True, "right": True}
    assert report["policy"] is None
    assert gone(report["pids"]["policy"])
    assert gone(report["pids"]["control"])


def _command_line(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _parent(pid: str) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.parametrize(
    ("mode", "error", "message", "code"),
    [
        ("nan", CheckFailedError, r"chunk 3 is refused: .* NaN or infinity; the arms hold", "non_finite"),
        (
            "crash",
            ProcessError,
            r"the policy process \(pid \d+\) ended with exit code 1; the arms hold",
            "policy",
        ),
    ],
)
def test_a_policy_that_fails_ends_the_run_with_the_arms_holding(
    watch: Watch, tmp_path: Path, mode: str, error: type[Exception], message: str, code: str
) -> None:
    with pytest.raises(error, match=message):
        run_site(watch.site(), duration=20, report=tmp_path / "r.json", programs=programs(mode))
    watch.assert_standing()
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["control"]["fault_code"] == code
    assert report["control"]["held_after"] < 0.2


def test_a_late_chunk_is_waited_for_in_hold_and_the_run_goes_on() -> None:
    result = run_site(simulated(), duration=4.5, programs=programs("stall"))
    assert result.control is not None
    states = [change.state for change in result.control.states]
    assert "hold" in states
    after = states[states.index("hold") + 1 :]
    assert after[0] in ("running", "approach")
    assert after[-1] == "stopped"
    assert result.control.fault is None


def test_an_emergency_stop_of_one_arm_stops_both(watch: Watch, tmp_path: Path) -> None:
    pressed: list[float] = []

    def press(progress: Progress) -> None:
        watch.right.press_estop()
        pressed.append(time.monotonic())

    with pytest.raises(ArmError, match=r"right arm: .*; the arms hold"):
        run_site(
            watch.site(),
            duration=20,
            report=tmp_path / "r.json",
            on_progress=when(running, press),
            programs=programs(),
        )
    still = [q[:6] for t, q in watch.samples if t > pressed[0] + 0.3]
    assert np.abs(np.diff(still, axis=0)).max() < 1e-4, "the other arm stands within 0.3 s"
    assert watch.left.enabled
    assert watch.left.power_cuts == watch.right.power_cuts == 0
    assert json.loads((tmp_path / "r.json").read_text())["control"]["fault_code"] == "estop"
    # The fault outlives the run, on both arms, though only one was stopped.
    site = watch.site()
    for arm in site.arms:
        latch = read_latch(arm)
        assert latch is not None
        assert (latch.code, latch.text) == ("estop", "right arm: emergency stop")
    watch.right.release_estop()
    for attempt in (
        lambda: run_site(site, duration=1, programs=programs()),
        lambda: attend_arms(site, Order.HOLD),
    ):
        with pytest.raises(
            ArmError, match=r"left arm on .*: latched since .*: right arm: emergency stop; see"
        ):
            attempt()
    assert run_site(site, duration=0.5, dry_run=True, programs=programs()).error is None, "looking is allowed"
    for arm in site.arms:
        clear_latch(arm)
    assert run_site(site, duration=0.5, programs=programs()).error is None


def test_an_end_at_the_park_pose(watch: Watch) -> None:
    park = (-1.7, 1.0, -0.8, 0.0, 0.3, 0.0, 0.0)
    result = run_site(watch.site(park=park), duration=2.0, park=True, programs=programs())
    assert (result.ended_by, result.error) == ("duration", None)
    assert result.control is not None
    assert [change.state for change in result.control.states][-2:] == ["parking", "parked"]
    for arm in (watch.left, watch.right):
        assert arm.joints == pytest.approx(park[:6], abs=2e-3)
        assert arm.gripper == pytest.approx(park[6], abs=1e-3)
    watch.assert_standing()


def test_who_asks_twice_does_not_wait_for_the_parking(watch: Watch) -> None:
    park = (1.5, 1.0, -0.8, 0.0, 0.3, 0.0, 0.0)
    asked: list[float] = []

    def ask() -> None:
        wait_until(lambda: bool(asked), 60)
        wait_until(lambda: watch.left.joints[1] < HOME[1] - 0.05, 20)
        os.kill(os.getpid(), signal.SIGINT)

    def first(progress: Progress) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        asked.append(time.monotonic())

    second = threading.Thread(target=ask)
    second.start()
    result = run_site(
        watch.site(park=park),
        duration=20,
        park=True,
        on_progress=when(running, first),
        programs=programs(),
    )
    second.join()
    assert result.ended_by == "signal"
    assert result.control is not None
    assert [change.state for change in result.control.states][-2:] == ["parking", "stopped"]
    watch.assert_standing()
    assert watch.left.joints[0] < park[0] - 0.5


def test_parking_needs_a_pose_before_anything_begins(watch: Watch) -> None:
    with pytest.raises(ConfigError, match=r"arms\[0\].park: the left arm has no park pose"):
        run_site(watch.site(), duration=1, park=True, programs=programs())
    with pytest.raises(ConfigError, match=r"arms\[0\].park"):
        attend_arms(watch.site(), Order.PARK)
    assert watch.left.received[0x471] == 0


def test_arms_are_powered_and_parked_without_a_policy(watch: Watch) -> None:
    park = (-1.8, 1.0, -0.8, 0.0, 0.3, 0.0, 0.0)
    held = attend_arms(watch.site(park=park), Order.HOLD)
    assert held.control is not None
    assert [change.state for change in held.control.states] == ["hold", "stopped"]
    assert watch.left.joints == pytest.approx(HOME[:6], abs=1e-3)
    watch.assert_standing()
    parked = attend_arms(watch.site(park=park), Order.PARK)
    assert parked.control is not None
    assert [change.state for change in parked.control.states] == ["parking", "parked"]
    assert watch.right.joints == pytest.approx(park[:6], abs=2e-3)
    assert parked.control.firmware == {"left": "S-V1.8-6", "right": "S-V1.8-6"}
    assert parked.control.notices == []
    watch.assert_standing()


def test_damaged_firmware_limits_keep_the_arms_without_power(watch: Watch) -> None:
    watch.right.corrupt_limits(2)
    watch.left.set_firmware("S-V1.6-3")
    with pytest.raises(ArmError, match=r"right arm: joint 2: the firmware reports a range from -0.1 to -0.1"):
        run_site(watch.site(), duration=1, programs=programs())
    assert not any(arm.enabled for arm in (watch.left, watch.right))
    looked = run_site(watch.site(), duration=0.5, dry_run=True, programs=programs())
    assert looked.control is not None
    assert [notice[:27] for notice in looked.control.notices] == [
        "left arm: firmware S-V1.6-3",
        "right arm: joint 2: the fir",
    ]


def test_a_replug_before_the_arms_are_powered_costs_no_run(watch: Watch) -> None:
    unplugged: list[float] = []

    def unplug(progress: Progress) -> None:
        watch.left.unplug()
        threading.Timer(1.5, watch.left.unplug, (False,)).start()
        unplugged.append(progress.elapsed)

    def again(progress: Progress) -> bool:
        return progress.elapsed > 0.5

    result = run_site(
        watch.site(), duration=6.0, dry_run=True, on_progress=when(again, unplug), programs=programs()
    )
    assert unplugged
    assert result.control is not None
    assert result.control.notices == ["left arm: its bus was lost and opened anew (1 x)"]
    assert result.control.fault is None


def test_a_cut_cable_stops_the_other_arm(watch: Watch) -> None:
    with pytest.raises(ArmError, match=r"left arm: feedback is \d+ ms old, more than max_feedback_age"):
        run_site(
            watch.site(),
            duration=20,
            on_progress=when(running, lambda progress: watch.left.silence()),
            programs=programs(),
        )
    watch.assert_standing()


def test_a_silent_arm_at_the_start(tmp_path: Path) -> None:
    name = f"test-silent-{os.getpid()}"
    with SimulatedPiper(name, HOME) as arm:
        arm.silence()
        arms = [
            {"side": "left", "driver": "piper", "can": {"interface": "gigaedge-sim", "channel": name}},
            {"side": "right", "driver": "absent", "pose": [0.0] * 7},
        ]
        with pytest.raises(ArmError, match=f"left arm on {name} does not answer"):
            run_site(Site.model_validate(site_data(arms)), duration=1, report=tmp_path / "r.json")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["ended_by"] == "ArmError"
    assert report["control"] is None


def test_a_can_interface_that_does_not_exist(tmp_path: Path) -> None:
    arms = [
        {"side": "left", "driver": "piper", "can": {"channel": "can_nowhere"}},
        {"side": "right", "driver": "absent", "pose": [0.0] * 7},
    ]
    page = tmp_path / "out" / "r.html"
    with pytest.raises(ArmError, match="can_nowhere"):
        run_site(Site.model_validate(site_data(arms)), duration=1, report=page)
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert "can_nowhere" in page.read_text()


def test_a_bundle_that_cannot_be_loaded() -> None:
    with pytest.raises(BundleError, match="no-such-bundle: no such bundle"):
        run_site(simulated(), duration=1, programs=programs("no-bundle"))


def test_the_real_policy_process_says_so_too() -> None:
    with pytest.raises(BundleError, match="no-such-bundle"):
        run_site(simulated(), duration=1)


def test_an_absent_camera() -> None:
    site = simulated()
    cameras = [
        {"role": "cam_high", "driver": "realsense", "serial": "000000000000"},
        *({"role": role, "driver": "sim", "width": 160, "height": 120} for role in CAMERA_ROLES[1:]),
    ]
    absent = Site.model_validate({**site.model_dump(by_alias=True), "cameras": cameras})
    with pytest.raises(CameraError, match="000000000000"):
        run_site(absent, duration=1, programs=programs())


def test_a_child_that_never_gets_ready() -> None:
    sleeper = (sys.executable, "-c", "import time; time.sleep(60)")
    with pytest.raises(ProcessError, match=r"the arms did not connect within startup_timeout 0\.3 s"):
        run_site(
            simulated(timing={"startup_timeout": 0.3}),
            programs=Programs(control=sleeper, policy=python_module("none")),
        )


def test_a_program_that_does_not_exist() -> None:
    with pytest.raises(ProcessError, match="the control process could not be started"):
        run_site(simulated(), programs=Programs(control=("/no/such/program",)))


class Supervised:
    """`run_site` in a process of its own."""

    def __init__(self, watch: Watch, folder: Path) -> None:
        self.report = folder / "report.json"
        site = folder / "site.yaml"
        site.write_text(yaml.safe_dump(watch.data()))
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "fake_supervisor.py"), str(site), str(self.report)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pids = self.line()

    def wait_until_moving(self, watch: Watch) -> None:
        self.pids |= self.line()
        assert wait_until(lambda: watch.left.joints[0] > -1.6, timeout=20), "the arms move"

    def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        told: dict[str, Any] = json.loads(self.process.stdout.readline())
        return told

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def supervised(watch: Watch, tmp_path: Path) -> Iterator[Supervised]:
    supervised = Supervised(watch, tmp_path)
    try:
        supervised.wait_until_moving(watch)
        yield supervised
    finally:
        supervised.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_in_order(watch: Watch, supervised: Supervised, number: signal.Signals) -> None:
    os.killpg(supervised.process.pid, number)  # a terminal signals the whole group
    assert supervised.process.wait(20) == 0
    assert supervised.line() == {"ended_by": "signal"}
    assert all(gone(pid) for pid in supervised.pids.values())
    report = json.loads(supervised.report.read_text())
    assert report["control"]["state"] == "stopped"
    assert report["control"]["fault"] is None
    assert report["policy"]["chunks"] >= 1
    watch.assert_standing()


@pytest.mark.parametrize("delay", [0.0, 0.2, 0.5])
def test_ctrl_c_during_the_start(watch: Watch, tmp_path: Path, delay: float) -> None:
    supervised = Supervised(watch, tmp_path)
    try:
        time.sleep(delay)
        os.kill(supervised.process.pid, signal.SIGINT)
        assert supervised.process.wait(20) == 0
        assert json.loads(supervised.report.read_text())["ended_by"] == "signal"
        assert gone(supervised.pids["control"])
        assert watch.left.joints[0] == pytest.approx(HOME[0], abs=1e-3)
    finally:
        supervised.close()


def test_the_supervisor_is_killed(watch: Watch, supervised: Supervised) -> None:
    supervised.process.kill()
    killed = time.monotonic()
    supervised.process.wait()
    assert wait_until(lambda: all(gone(pid) for pid in supervised.pids.values()), timeout=10)
    assert watch.moved_after(killed) < 0.3
    watch.assert_standing()


def test_control_is_killed(watch: Watch, supervised: Supervised) -> None:
    os.kill(supervised.pids["control"], signal.SIGKILL)
    killed = time.monotonic()
    assert supervised.process.wait(20) == 1
    assert all(gone(pid) for pid in supervised.pids.values())
    assert watch.moved_after(killed) < 0.3
    watch.assert_standing()
    report = json.loads(supervised.report.read_text())
    assert report["error"] == (
        f"the control process (pid {supervised.pids['control']}) was killed by SIGKILL; "
        "the arms hold their last target"
    )
    assert report["control"] is None
    assert report["policy"]["chunks"] >= 1
    latch = read_latch(watch.site().arm("left"))
    assert latch is not None
    assert latch.code == "control"
    assert "was killed by SIGKILL" in latch.text


def test_control_hangs(watch: Watch, supervised: Supervised) -> None:
    os.kill(supervised.pids["control"], signal.SIGSTOP)
    assert supervised.process.wait(20) == 1
    assert all(gone(pid) for pid in supervised.pids.values())
    watch.assert_standing()
    error = json.loads(supervised.report.read_text())["error"]
    assert "hangs: no sign of life for 2 s; the arms hold their last target" in error
    latch = read_latch(watch.site().arm("right"))
    assert latch is not None
    assert "hangs: no sign of life" in latch.text


def test_control_is_asked_to_end_from_outside(watch: Watch, supervised: Supervised) -> None:
    os.kill(supervised.pids["control"], signal.SIGTERM)
    assert supervised.process.wait(20) == 1
    assert all(gone(pid) for pid in supervised.pids.values())
    watch.assert_standing()


def test_progress_says_what_a_hold_waits_for() -> None:
    control, policy = ControlStatus(state=State.RUNNING, sends=9), PlannerStatus(chunks=4, reason="too old")
    assert str(Progress(1.0, control, policy)) == "running, 4 chunks, 9 commands"
    held = replace(control, state=State.HOLD)
    assert str(Progress(1.0, held, policy)) == "hold, 4 chunks, 9 commands (too old)"
    late = replace(policy, reason="")
    assert str(Progress(1.0, held, late)) == "hold, 4 chunks, 9 commands (the next chunk is late)"


def test_a_dry_run_may_take_its_time_over_a_chunk() -> None:
    site = simulated(timing={"policy_timeout": 0.5, "max_feedback_age": 0.2})
    result = run_site(site, duration=2.5, dry_run=True, programs=programs("stall"))
    assert result.ended_by == "duration"


def test_the_reports_are_the_same_on_both_sides_of_json(tmp_path: Path) -> None:
    result = RunReport("duration", None, 1.5, False, {"control": 7}, 3)
    result.write(tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text())["pids"] == {"control": 7}


def test_examples_are_valid() -> None:
    examples = HERE.parents[1] / "examples"
    for name in ("sim", "bimanual", "real", "cell"):
        site = load_site(examples / f"{name}.yaml")
        assert {camera.role for camera in site.cameras} == set(CAMERA_ROLES)
