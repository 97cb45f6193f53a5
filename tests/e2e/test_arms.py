"""`gigaedge arms`: what a person does with arms that no policy drives, on simulated ones behind the real SDK."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from gigaedge.errors import ArmError
from gigaedge.robot import CAMERA_ROLES
from gigaedge.site import Site, load_site
from gigaedge_runtime.claim import claimed
from gigaedge_runtime.devices.sim_frames import LimitReply
from gigaedge_runtime.devices.sim_piper import SimulatedPiper
from gigaedge_runtime.latch import latchable, read_latch, set_latch
from gigaedge_runtime.states import Fault, FaultCode
from tests.command_line import answer, fails, gigaedge, succeeds

pytestmark = pytest.mark.realtime

HOME = (0.0, 1.2, -1.0, 0.0, 0.5, 0.0, 0.03)
PARK = (0.2, 1.0, -0.8, 0.0, 0.3, 0.0, 0.0)
EXAMPLE = Path(__file__).parents[2] / "examples" / "sim.yaml"
ESTOP = Fault(FaultCode.ESTOP, "left arm: emergency stop")
_numbers = itertools.count()


@dataclass
class Cell:
    """A site file, and the simulated arms that its `driver: piper` names."""

    path: Path
    left: SimulatedPiper
    right: SimulatedPiper

    @property
    def site(self) -> Site:
        return load_site(self.path)

    def change(self, **sections: Any) -> None:
        data = yaml.safe_load(self.path.read_text())
        self.path.write_text(yaml.safe_dump(data | sections))

    def latch(self) -> None:
        set_latch(latchable(self.site), ESTOP, datetime(2026, 3, 1, 10, 2, tzinfo=timezone.utc))


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[Cell]:
    channels = {side: f"arms-{os.getpid()}-{next(_numbers)}" for side in ("left", "right")}
    data = {
        "bundle": "no-bundle",
        "cameras": [{"role": role, "driver": "sim"} for role in CAMERA_ROLES],
        "arms": [
            {
                "side": side,
                "driver": "piper",
                "can": {"interface": "gigaedge-sim", "channel": channel},
                "park": list(PARK),
            }
            for side, channel in channels.items()
        ],
        "timing": {"max_feedback_age": 0.2},
    }
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump(data))
    with SimulatedPiper(channels["left"], HOME) as left, SimulatedPiper(channels["right"], HOME) as right:
        yield Cell(path, left, right)


def commands(arm: SimulatedPiper) -> int:
    """Frames that are no questions."""
    return sum(count for identifier, count in arm.received.items() if identifier not in (0x472, 0x4AF))


def test_status_anywhere() -> None:
    printed = succeeds("arms", "status", EXAMPLE).stdout
    for words in (
        "left arm (simulated)",
        "standby",
        "S-V1.8-6",
        "agree with the site's",
        " Hz, ",
        "off: 1, 2, 3",
    ):
        assert words in printed
    (arm,) = answer("arms", "status", EXAMPLE)["arms"]
    assert arm["connected"]
    assert (arm["side"], arm["channel"], arm["latch"], arm["faults"]) == ("left", "simulated", None, [])
    assert arm["pose"] == pytest.approx(HOME, abs=1e-3)
    assert arm["joints_deg"][1] == pytest.approx(68.75, abs=0.1)
    assert arm["gripper_mm"] == pytest.approx(30.0, abs=0.1)
    assert arm["powered"] == [False] * 6
    assert arm["voltages_v"] == [24.0] * 6
    assert arm["frames"].keys() == {"status", "joints", "gripper", "drivers"}
    assert arm["frames"]["joints"]["hz"] > 100
    assert arm["firmware_limits"]["position_min_deg"] == [-150, 0, -170, -100, -70, -120]


def test_status_commands_nothing_and_tells_faults_with_what_to_do(cell: Cell) -> None:
    cell.left.press_estop()
    cell.right.set_error(joint=3, driver_bits=1 << 2)
    cell.right.set_limits(4, LimitReply(low=-500, high=1000))
    printed = succeeds("arms", "status", cell.path).stdout
    assert "emergency stop" in printed
    assert "joint 3: driver overcurrent" in printed
    assert "2. Support the arm by hand or with a stand" in printed
    assert "joint 4: the firmware stops at -0.872665 rad, limits.position_min says -1.745" in printed
    left, right = answer("arms", "status", cell.path)["arms"]
    assert left["faults"] == [{"code": "estop", "text": "emergency stop"}]
    assert left["steps"][2].startswith("Release the button")
    assert len(right["disagreements"]) == 1
    assert commands(cell.left) == commands(cell.right) == 0


def test_an_arm_that_is_not_there_does_not_hide_the_other(cell: Cell) -> None:
    cell.right.stop()
    result = gigaedge("arms", "status", cell.path)
    assert result.returncode == 3
    assert "CAN control" in result.stdout or "standby" in result.stdout
    assert "no simulated arm serves this channel" in result.stderr
    told = gigaedge("arms", "status", cell.path, "--json")
    assert told.returncode == 3
    left, right = json.loads(told.stdout)["arms"]
    assert (left["connected"], right["connected"]) == (True, False)
    assert right["problem"].startswith(cell.right.channel)


def test_enable_then_park(cell: Cell) -> None:
    assert succeeds("arms", "enable", cell.path).stdout.splitlines() == [
        "left arm: powered, holds where it is",
        "right arm: powered, holds where it is",
    ]
    for arm in (cell.left, cell.right):
        assert arm.enabled
        assert arm.joints == pytest.approx(HOME[:6], abs=1e-3)
    assert succeeds("arms", "park", cell.path).stdout.splitlines() == [
        "left arm: parked, powered",
        "right arm: parked, powered",
    ]
    for arm in (cell.left, cell.right):
        assert arm.enabled
        assert arm.joints == pytest.approx(PARK[:6], abs=2e-3)
        assert arm.peak_velocity < 0.5
        assert arm.power_cuts == 0


def test_an_arm_has_one_commander(cell: Cell) -> None:
    with claimed([cell.site.arm("right")]):
        told = f"right arm on {cell.right.channel}: another gigaedge command has the arm; end that first"
        fails(told, "arms", "enable", cell.path, code=3)
        with pytest.raises(ArmError, match="another gigaedge command"), claimed(cell.site.arms):
            pass
        succeeds("arms", "status", cell.path)
    assert commands(cell.left) == commands(cell.right) == 0
    succeeds("arms", "enable", cell.path)


def test_park_needs_a_pose(cell: Cell) -> None:
    cell.change(arms=[arm | {"park": None} for arm in yaml.safe_load(cell.path.read_text())["arms"]])
    fails("arms[0].park: the left arm has no park pose", "arms", "park", cell.path)
    assert commands(cell.left) == 0


def test_an_arm_at_fault_is_not_powered(cell: Cell) -> None:
    cell.right.set_teach(True)
    fails("cannot be enabled: teach mode (the button on the arm)", "arms", "enable", cell.path, code=3)
    assert not cell.right.enabled


def test_a_latch_stops_everything_but_looking_until_it_is_cleared(cell: Cell) -> None:
    cell.latch()
    told = "latched since 2026-03-01 10:02 UTC: left arm: emergency stop; see `gigaedge arms status SITE`"
    for command in ("enable", "park"):
        fails(told, "arms", command, cell.path, code=3)
    fails("gigaedge arms clear SITE", "run", cell.path, "--for", "1s", code=3)
    printed = succeeds("arms", "status", cell.path).stdout
    assert "2026-03-01 10:02 UTC: left arm: emergency stop" in printed
    assert "1. Remove the reason for the stop" in printed
    assert commands(cell.left) == commands(cell.right) == 0
    cleared = succeeds("arms", "clear", cell.path, "--yes").stdout
    assert "1. Remove the reason for the stop" in cleared
    assert cleared.splitlines()[-1] == "cleared: left, right"
    assert commands(cell.left) == commands(cell.right) == 0, "clearing moves, powers and resets nothing"
    assert succeeds("arms", "clear", cell.path).stdout == "no arm is latched\n"
    succeeds("arms", "enable", cell.path)


def test_clear_refuses_while_an_arm_is_not_well(cell: Cell) -> None:
    cell.latch()
    cell.right.press_estop()
    fails("still reports: emergency stop", "arms", "clear", cell.path, "--yes", code=3)
    cell.right.release_estop()
    cell.left.silence()
    fails("does not answer", "arms", "clear", cell.path, "--yes", code=3)
    cell.left.silence(False)
    fails("pass --yes when somebody has looked at the arms", "arms", "clear", cell.path, code=2)
    assert read_latch(cell.site.arm("left")) is not None


def test_clear_refuses_while_an_arm_moves(cell: Cell) -> None:
    succeeds("arms", "enable", cell.path)
    cell.latch()
    with moving(cell.left):
        fails("still moves; wait until it stands", "arms", "clear", cell.path, "--yes", code=3)
    assert read_latch(cell.site.arm("left")) is not None


@contextmanager
def moving(arm: SimulatedPiper) -> Iterator[None]:
    """An arm that swings as long as the block lasts, on somebody else's command."""
    code = (
        "import time, math, can, struct\n"
        f"bus = can.Bus(interface='gigaedge-sim', channel={arm.channel!r})\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    data = struct.pack('>ii', round(20000 * math.sin(3 * time.monotonic())), 60000)\n"
        "    bus.send(can.Message(arbitration_id=0x155, is_extended_id=False, data=data))\n"
        "    time.sleep(0.01)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("agrees", [True, False])
def test_clear_asks_a_person(cell: Cell, agrees: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    cell.latch()
    asked: list[str] = []

    def confirm(text: str) -> bool:
        asked.append(text)
        return agrees

    monkeypatch.setattr(typer, "confirm", confirm)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    result = gigaedge("arms", "clear", cell.path)
    assert asked == ["Is all of this done, and may the arms move again?"]
    assert result.returncode == (0 if agrees else 130)
    assert result.stdout.splitlines()[-1] == ("cleared: left, right" if agrees else "the arms stay latched")
    assert (read_latch(cell.site.arm("left")) is None) is agrees


def test_watch_follows_a_replug_until_ctrl_c(cell: Cell) -> None:
    command = [sys.executable, "-m", "gigaedge", "arms", "status", str(cell.path), "--watch", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        connected(process, lambda left: left)
        cell.left.unplug()
        connected(process, lambda left: not left)
        cell.left.unplug(False)
        connected(process, lambda left: left)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        assert process.returncode == 130
    finally:
        process.kill()
        process.communicate()


def connected(process: subprocess.Popen[str], wanted: Any) -> None:
    """Read looks until the left arm is, or is not, connected; the right one always is."""
    assert process.stdout is not None
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        line = process.stdout.readline()
        assert line, "the command has ended"
        left, right = json.loads(line)["arms"]
        assert right["connected"]
        if wanted(left["connected"]):
            return
    raise TimeoutError("nothing changed")


def test_practising_on_arms_that_outlive_a_command(cell: Cell) -> None:
    channel = f"practice-{os.getpid()}"
    command = [sys.executable, "-m", "gigaedge", "arms", "simulate", "--left", channel]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert channel in process.stdout.readline()
        arms = [
            {"side": "left", "driver": "piper", "can": {"interface": "gigaedge-sim", "channel": channel}},
            {"side": "right", "driver": "absent", "pose": list(HOME)},
        ]
        cell.change(arms=arms)
        succeeds("arms", "enable", cell.path)
        (arm,) = answer("arms", "status", cell.path)["arms"]
        assert arm["powered"] == [True] * 6, "as the command before left it"
        fails(f"{channel}", "arms", "simulate", "--left", channel, code=3)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    finally:
        process.kill()
        process.communicate()


def test_simulate_needs_a_channel() -> None:
    fails("name at least one channel: --left CHANNEL, --right CHANNEL", "arms", "simulate")


def test_help_has_examples() -> None:
    for command in ("status", "enable", "park", "clear", "simulate"):
        assert "Example" in succeeds("arms", command, "--help").stdout
    assert "130" in succeeds("arms", "--help").stdout
