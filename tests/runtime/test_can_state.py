"""The kernel's view of a CAN interface, from made-up answers; and which adapter hangs behind one."""

from __future__ import annotations

import errno
import struct
import time
from pathlib import Path

import pytest

from gigaedge.errors import ArmError
from gigaedge_runtime.devices import can_state as module
from gigaedge_runtime.devices.can_state import (
    CanState,
    CanWatch,
    adapter_serial,
    can_state,
    parse_answer,
    require_adapter,
)

pytestmark = pytest.mark.realtime


def attribute(kind: int, value: bytes) -> bytes:
    head = struct.pack("=HH", 4 + len(value), kind) + value
    return head + bytes(-len(head) % 4)


def answer(*attributes: bytes, up: bool = True, kind: int = 16) -> bytes:
    body = struct.pack("=BxHiII", 0, 280, 4, 1 if up else 0, 0) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body


def can_link(state: int) -> bytes:
    """As a CAN interface answers: name, then link info of kind `can` with bit timing (1) and state (4)."""
    data = attribute(1, bytes(32)) + attribute(4, struct.pack("=I", state)) + attribute(8, bytes(4))
    info = attribute(1, b"can\0") + attribute(2 | 0x8000, data)
    return answer(attribute(3, b"can0\0"), attribute(18 | 0x8000, info))


@pytest.mark.parametrize(
    ("state", "name", "fault"),
    [
        (0, "ERROR-ACTIVE", None),
        (1, "ERROR-WARNING", None),
        (2, "ERROR-PASSIVE", "the CAN interface is ERROR-PASSIVE"),
        (3, "BUS-OFF", "the CAN interface is BUS-OFF"),
        (4, "STOPPED", "the CAN interface is STOPPED"),
        (9, "state 9", "the CAN interface is state 9"),
    ],
)
def test_states_of_a_controller(state: int, name: str, fault: str | None) -> None:
    read = parse_answer(can_link(state))
    assert (read.name, read.fault) == (name, fault)


def test_an_interface_that_is_down_gone_or_no_can() -> None:
    down = parse_answer(answer(attribute(3, b"can0\0"), up=False))
    assert (down.name, down.fault) == ("down", "the CAN interface is down")
    assert parse_answer(answer(attribute(3, b"lo\0"))).fault is None
    assert parse_answer(answer(attribute(18, attribute(2, attribute(1, bytes(4)))))) == CanState("up")
    assert parse_answer(answer(struct.pack("=HH", 0, 3))) == CanState("up"), (
        "a broken attribute ends the list"
    )

    def error(number: int) -> bytes:
        return struct.pack("=IHHIIi", 36, 2, 0, 1, 0, -number) + bytes(16)

    assert parse_answer(error(errno.ENODEV)).fault == "the CAN interface is gone (adapter unplugged?)"
    with pytest.raises(PermissionError):
        parse_answer(error(errno.EACCES))


def test_this_kernel_is_asked() -> None:
    assert can_state("lo").name in ("up", "down")
    assert can_state("no-such-can").name == "gone"


def test_a_watch_sees_changes_and_survives_a_kernel_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PERIOD", 0.01)
    watch = CanWatch("no-such-can")
    try:
        assert watch.latest == CanState("gone")

        def refuse(interface: str) -> CanState:
            raise PermissionError(1, "no")

        monkeypatch.setattr(module, "can_state", refuse)
        deadline = time.monotonic() + 5.0
        while watch.latest is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert watch.latest is None
    finally:
        watch.close()
        watch.close()


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """can0 on USB with a serial number, can1 on USB without one, can2 on no bus."""
    net = tmp_path / "class"
    for name, serial in (("can0", "0031002F5835\n"), ("can1", None)):
        usb = tmp_path / "usb" / name
        (usb / "1-1:1.0").mkdir(parents=True)
        if serial:
            (usb / "serial").write_text(serial)
        (net / name).mkdir(parents=True)
        (net / name / "device").symlink_to(usb / "1-1:1.0")
    (net / "can2").mkdir()
    return net


def test_the_adapter_behind_an_interface(sysfs: Path) -> None:
    assert [adapter_serial(f"can{n}", sysfs) for n in range(4)] == ["0031002F5835", None, None, None]


def test_another_adapter_than_the_expected_one_is_refused(sysfs: Path) -> None:
    require_adapter("can0", "0031002F5835", sysfs)
    with pytest.raises(ArmError, match=r"can0: expected .* number A1, found 0031002F5835; are the two arms"):
        require_adapter("can0", "A1", sysfs)
    with pytest.raises(ArmError, match="found none"):
        require_adapter("can1", "A1", sysfs)
