"""Faults that outlive a run, in files."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from gigaedge.errors import ArmError
from gigaedge.robot import CAMERA_ROLES
from gigaedge.site import CanConfig, Site
from gigaedge_runtime.latch import clear_latch, latch_file, latchable, read_latch, refuse_latched, set_latch
from gigaedge_runtime.states import Fault, FaultCode

NOW = datetime(2026, 3, 1, 10, 2, 33, tzinfo=timezone.utc)
ESTOP = Fault(FaultCode.ESTOP, "left arm: emergency stop")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def cell(left: str = "piper", right: str = "piper") -> Site:
    arms = [
        {"side": side, "driver": driver, "can": {"channel": f"can_{side}"}}
        | ({"pose": [0.0] * 7} if driver == "absent" else {})
        for side, driver in (("left", left), ("right", right))
    ]
    cameras = [{"role": role, "driver": "sim"} for role in CAMERA_ROLES]
    return Site.model_validate({"bundle": "b", "cameras": cameras, "arms": arms})


def test_a_latch_says_what_happened_when_and_what_to_do() -> None:
    site = cell()
    refuse_latched(site)
    set_latch(latchable(site), ESTOP, NOW)
    for side in ("left", "right"):
        latch = read_latch(site.arm(side))
        assert latch is not None
        assert (latch.code, latch.text, latch.when) == ("estop", ESTOP.text, "2026-03-01 10:02 UTC")
        assert "Release the button" in latch.steps[2]
    with pytest.raises(ArmError) as caught:
        refuse_latched(site)
    assert str(caught.value) == (
        "left arm on can_left: latched since 2026-03-01 10:02 UTC: left arm: emergency stop; see `gigaedge arms "
        "status SITE` for what to do, then `gigaedge arms clear SITE`"
    )
    assert caught.value.exit_code == 3


def test_either_arm_is_refused_until_both_are_cleared() -> None:
    site = cell()
    set_latch(latchable(site), ESTOP, NOW)
    clear_latch(site.arm("left"))
    with pytest.raises(ArmError, match="right arm on can_right: latched"):
        refuse_latched(site)
    clear_latch(site.arm("right"))
    clear_latch(site.arm("right"))
    refuse_latched(site)


def test_the_first_fault_stays() -> None:
    site = cell()
    set_latch(latchable(site), ESTOP, NOW)
    set_latch(latchable(site), Fault(FaultCode.SEND, "later"), NOW + timedelta(days=1))
    latch = read_latch(site.arm("left"))
    assert latch is not None
    assert latch.text == ESTOP.text


def test_only_real_arms_have_latches() -> None:
    assert [arm.side for arm in latchable(cell(right="absent"))] == ["left"]
    assert [arm.side for arm in latchable(cell(left="sim"))] == ["right"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"schema": 1, "text": 3}', b'{"schema": 9}'])
def test_a_latch_that_cannot_be_read_still_holds(content: bytes) -> None:
    site = cell()
    file = latch_file(site.arm("left").can)
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    with pytest.raises(
        ArmError, match=r"latched since an unknown time: an earlier fault whose record .*can_left"
    ):
        refuse_latched(site)
    clear_latch(site.arm("left"))
    refuse_latched(site)


def test_the_file_is_in_the_state_folder_whole_and_of_one_arm(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_latch(latchable(cell()), ESTOP, NOW)
    folder = state / "gigaedge" / "faults"
    assert sorted(file.name for file in folder.iterdir()) == [
        "socketcan.can_left.json",
        "socketcan.can_right.json",
    ]
    assert json.loads((folder / "socketcan.can_left.json").read_text())["code"] == "estop"
    odd = latch_file(CanConfig(interface="slcan", channel="/dev/ttyACM0"))
    assert odd.parent == folder
    assert odd.name == "slcan.%2Fdev%2FttyACM0.json"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert latch_file(CanConfig()) == Path("/home/somebody/.local/state/gigaedge/faults/socketcan.can0.json")
