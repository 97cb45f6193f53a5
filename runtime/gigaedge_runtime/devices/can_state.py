"""Whether a CAN interface still takes part in its bus: the kernel's own view, which no SDK shows.

python-can's `bus.state` is always ACTIVE on socketcan, and a controller that went bus-off only falls silent.
The kernel knows better: it is asked over rtnetlink, which is a system call or two, ten times a second and in
a thread of its own. The USB serial number of the adapter behind an interface is read from sysfs.

Written against linux/can/netlink.h and tested with made-up answers and with an interface that is no CAN: no
real CAN controller has been near it.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gigaedge.errors import ArmError

PERIOD: Final = 0.1
"""s; between two looks."""

SYSFS: Final = Path("/sys/class/net")

GONE: Final = "gone"
"""The interface does not exist any more: its adapter was pulled."""
DOWN: Final = "down"
"""The interface was taken down."""

_STATES: Final = ("ERROR-ACTIVE", "ERROR-WARNING", "ERROR-PASSIVE", "BUS-OFF", "STOPPED", "SLEEPING")
"""enum can_state."""
_HEALTHY: Final = ("ERROR-ACTIVE", "ERROR-WARNING", "up")

_HEADER: Final = struct.Struct("=IHHII")
"""struct nlmsghdr: length, type, flags, sequence, port."""
_LINK: Final = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, type, index, flags, change."""
_ATTRIBUTE: Final = struct.Struct("=HH")
_RTM_GETLINK: Final = 18
_NLM_REQUEST: Final = 1
_NLMSG_ERROR: Final = 2
_IFF_UP: Final = 1
_IFLA_IFNAME: Final = 3
_IFLA_LINKINFO: Final = 18
_IFLA_INFO_DATA: Final = 2
_IFLA_CAN_STATE: Final = 4
_ANSWER_LIMIT: Final = 1 << 16
_TIMEOUT: Final = 1.0
"""s; the kernel answers within the system call."""


@dataclass(frozen=True)
class CanState:
    """An interface as the kernel saw it last."""

    name: str
    """ERROR-ACTIVE and so on; `gone`, `down`, or `up` where the interface has no CAN state."""

    @property
    def fault(self) -> str | None:
        """Why nothing sent here may arrive, in words, or None."""
        if self.name in _HEALTHY:
            return None
        if self.name == GONE:
            return "the CAN interface is gone (adapter unplugged?)"
        return f"the CAN interface is {self.name}"


def can_state(interface: str) -> CanState:
    """Ask the kernel for the state of an interface. Raises OSError when it cannot be asked at all."""
    name = interface.encode() + b"\0"
    attribute = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(name), _IFLA_IFNAME) + name
    attribute += bytes(-len(attribute) % 4)
    size = _HEADER.size + _LINK.size + len(attribute)
    question = _HEADER.pack(size, _RTM_GETLINK, _NLM_REQUEST, 1, 0) + _LINK.pack(0, 0, 0, 0, 0) + attribute
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as link:
        link.settimeout(_TIMEOUT)
        link.send(question)
        return parse_answer(link.recv(_ANSWER_LIMIT))


def parse_answer(answer: bytes) -> CanState:
    """The state in one rtnetlink message (RTM_NEWLINK, or an error). Raises OSError for any other error."""
    _, kind, *_ = _HEADER.unpack_from(answer)
    if kind == _NLMSG_ERROR:
        number = -struct.unpack_from("=i", answer, _HEADER.size)[0]
        if number == errno.ENODEV:
            return CanState(GONE)
        raise OSError(number, os.strerror(number))
    flags = _LINK.unpack_from(answer, _HEADER.size)[3]
    if not flags & _IFF_UP:
        return CanState(DOWN)
    for kind, value in _attributes(answer[_HEADER.size + _LINK.size :]):
        if kind != _IFLA_LINKINFO:
            continue
        for inner, data in _attributes(value):
            if inner == _IFLA_INFO_DATA:
                for innermost, number in _attributes(data):
                    if innermost == _IFLA_CAN_STATE:
                        state = int.from_bytes(number[:4], "little")
                        return CanState(_STATES[state] if state < len(_STATES) else f"state {state}")
    return CanState("up")


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes (type, value) of a netlink message, which are aligned to four bytes."""
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            return
        # The two highest bits mark nested and big-endian attributes.
        yield kind & 0x3FFF, data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]


class CanWatch:
    """Looks after one interface in a thread of its own; `latest` may be read at any time."""

    def __init__(self, interface: str) -> None:
        """Watch from now on, until `close`."""
        self.latest: CanState | None = None
        """None where the kernel cannot be asked."""
        self._interface = interface
        self._ended = threading.Event()
        self._look()
        self._thread = threading.Thread(target=self._run, name=f"can-{interface}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End; may be called more than once."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(PERIOD):
            self._look()

    def _look(self) -> None:
        try:
            self.latest = can_state(self._interface)
        except OSError:
            # A container without netlink: feedback and send results still tell.
            self.latest = None


def adapter_serial(interface: str, sysfs: Path = SYSFS) -> str | None:
    """USB serial number of the adapter behind an interface; None when it has none, or is not on USB."""
    device = (sysfs / interface / "device").resolve()
    # The interface hangs on an interface of the USB device, whose serial number is one level up.
    for folder in (device, device.parent):
        file = folder / "serial"
        if file.is_file():
            return file.read_text(encoding="utf-8", errors="replace").strip() or None
    return None


def require_adapter(interface: str, expected: str, sysfs: Path = SYSFS) -> None:
    """Raise ArmError when another adapter than the expected one is behind an interface."""
    found = adapter_serial(interface, sysfs)
    if found != expected:
        raise ArmError(
            f"{interface}: expected the CAN adapter with serial number {expected}, found {found or 'none'}; "
            "are the two arms' cables or interface names swapped? Correct `can.channel` or `can.adapter`"
        )
