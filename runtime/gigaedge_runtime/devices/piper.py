"""An AgileX PiPER arm through piper_sdk 0.6.2: the `Arm` of this runtime on a real or a simulated CAN bus.

Vendor integers end here: 0.001 deg and 0.001 mm on the wire, rad and m outside. The arm is driven in MOVE J
with "high follow" (0xAD), which does not plan: whoever calls `send` sends smooth targets at 200 Hz that
respect the limits of joints and speed.

Nothing in this file takes power from a motor or resets the arm (`DisableArm`, `ResetPiper`,
`MotionCtrl_1(2)`): each makes the arm fall.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.clock import Clock, monotonic
from gigaedge.errors import ArmError
from gigaedge.profiles import FirmwareLimits
from gigaedge.robot import JOINTS, Side
from gigaedge.site import CanConfig
from gigaedge_runtime.devices import ArmState
from gigaedge_runtime.devices.can_state import CanWatch, adapter_serial, require_adapter
from gigaedge_runtime.devices.piper_faults import (
    CAN_CONTROL,
    Fault,
    PiperStatus,
    describe_faults,
    find_faults,
    gravest,
    join_faults,
)
from gigaedge_runtime.devices.piper_link import (
    DRIVER_IDS,
    FEEDBACK_IDS,
    GRIPPER_ID,
    JOINT_IDS,
    STATUS_ID,
    JointFeedback,
    PiperLink,
)
from gigaedge_runtime.devices.piper_report import (
    ArmReport,
    Inspector,
    read_firmware,
    read_firmware_limits,
)
from gigaedge_runtime.states import FaultCode

CONNECT_TIMEOUT: Final = 1.5
"""s; an arm with power sends its first feedback within 25 ms."""
ENABLE_TIMEOUT: Final = 3.0
"""s, for all motors; each takes a few tens of ms."""
MODE_PERIOD: Final = 0.5
"""s; how often `send` repeats the control mode (0x151), as the vendor's joint demo does every cycle."""

MAX_JOINT: Final = 3.5
"""rad; beyond every published PiPER limit (3.403). Such a target is a bug, not a wish."""
MAX_OPENING: Final = 0.15
"""m; the SDK's own bound on what a gripper can report."""

_CYCLES_BEFORE_POSE: Final = 3
"""Joint sets that must have arrived before the pose counts: the SDK's zeros before the first are none."""
_ENABLE_FRESHNESS: Final = 0.2
"""s; older feedback is no pose to hold."""
_SILENCE: Final = (
    dict.fromkeys(JOINT_IDS, 12)  # 30 ms, of the other two
    | dict.fromkeys((STATUS_ID, GRIPPER_ID), 60)  # 100 ms
    | dict.fromkeys(DRIVER_IDS, 150)  # 250 ms, of ten that were due
)
"""How many joint frames may come (600 a second) before one of another identifier has to, which else is lost."""
_REOPEN_PAUSE: Final = 0.3
"""s between two attempts to open a bus that is gone."""
_POLL: Final = 0.005
_RETRY: Final = 0.06
"""s between two requests to power one motor; its flag comes back within 25 ms."""
_MOVE_J: Final = 1
_FULL_SPEED: Final = 100
_HIGH_FOLLOW: Final = 0xAD
_GRIPPER_ON: Final = 1


def joints_to_sdk(joints: NDArray[np.float64] | Sequence[float]) -> list[int]:
    """Six joint angles from rad to 0.001 deg, rounded.

    Raises ArmError: not six values, one that is not finite, or one no PiPER can reach.
    """
    values = joints.tolist() if isinstance(joints, np.ndarray) else [float(value) for value in joints]
    if len(values) != JOINTS:
        raise ArmError(f"expected {JOINTS} joint angles, got {len(values)}")
    if not all(abs(value) <= MAX_JOINT for value in values):
        raise ArmError(
            f"expected finite joint angles within +-{MAX_JOINT} rad, got {values}; nothing was sent"
        )
    return [round(math.degrees(value) * 1000.0) for value in values]


def joints_from_sdk(angles: Sequence[int]) -> NDArray[np.float64]:
    """Joint angles from 0.001 deg to rad."""
    return np.array([math.radians(angle / 1000.0) for angle in angles])


def gripper_to_sdk(opening: float) -> int:
    """Gripper opening from m to 0.001 mm, rounded. Raises ArmError when not finite or beyond any gripper."""
    if not abs(opening) <= MAX_OPENING:
        raise ArmError(
            f"expected a gripper opening within +-{MAX_OPENING} m, got {opening}; nothing was sent"
        )
    return round(opening * 1e6)


def gripper_from_sdk(opening: int) -> float:
    """Gripper opening from 0.001 mm to m."""
    return opening * 1e-6


class PiperArm:
    """One PiPER arm (see `Arm`). Every call from one thread: the SDK's sending is not thread-safe."""

    side: Side

    def __init__(
        self, side: Side, can: CanConfig, *, gripper_effort: float = 1.0, clock: Clock = monotonic
    ) -> None:
        """An arm that is not connected yet; `gripper_effort` in N*m, 0..5."""
        if not 0.0 <= gripper_effort <= 5.0:
            raise ArmError(f"gripper_effort: expected 0..5 N*m, got {gripper_effort}")
        self.side = side
        self._name = f"{side} arm on {can.channel}"
        self._effort = round(gripper_effort * 1000.0)
        self._clock = clock
        self._can = can
        self._link = PiperLink(can, clock)
        self._inspector = Inspector(side, can.channel, self._link, clock)
        self._watch: CanWatch | None = None
        self._armed = False
        self._lost: ArmState | None = None
        """What came last, while the bus is being opened anew in another thread, which then owns the link."""
        self._reopening: threading.Thread | None = None
        self._closing = threading.Event()
        self.reconnects = 0
        """How often the bus was opened anew."""
        self._mode_due = 0.0
        self._judged: PiperStatus | None = None
        self._judged_armed = False
        self._faults: list[Fault] = []
        self._enabled = False

    @property
    def failed_frames(self) -> int:
        """Sent frames that the bus did not take, since `connect`."""
        return self._link.failed_frames

    @property
    def sent_at(self) -> float:
        """When the bus took the first frame of the newest joint command, s on CLOCK_MONOTONIC; 0 before any."""
        return self._link.sent_at

    @property
    def firmware(self) -> str | None:
        """Firmware version such as "S-V1.8-6", or None while the arm has not answered (some 25 ms)."""
        return read_firmware(self._link.sdk)

    def connect(self) -> None:
        """Open the bus and wait for every kind of feedback; sends only the SDK's queries (0x472, 0x4AF).

        Raises ArmError: no such interface, interface down or at a wrong bitrate, another adapter than
        `can.adapter`, no answer within 1.5 s.
        """
        self._closing.clear()
        self._open()
        if self._can.interface == "socketcan" and self._watch is None:
            self._watch = CanWatch(self._can.channel)

    def reconnect(self) -> None:
        """Begin to close the bus and to open it again, in a thread, until the arm answers (see `Arm`).

        An adapter that was pulled and plugged in again is a new device, which the SDK's object never finds.
        """
        if self._lost is not None:
            return
        self._armed = False
        self._lost = replace(
            self.read(), enabled=False, fault="the bus is being opened anew", code=FaultCode.BUS
        )
        self._reopening = threading.Thread(target=self._reopen, name=f"reopen-{self.side}", daemon=True)
        self._reopening.start()

    def _reopen(self) -> None:
        """In a thread of its own, which alone touches the link until `_lost` is taken back."""
        self._link.close()
        while not self._closing.wait(_REOPEN_PAUSE):
            try:
                self._open()
            except ArmError:
                continue
            self.reconnects += 1
            self._lost = None
            return

    def _open(self) -> None:
        if self._can.adapter is not None:
            require_adapter(self._can.channel, self._can.adapter)
        self._link.open()
        if not self._wait(self._is_answering, CONNECT_TIMEOUT):
            silent = [f"{i:#x}" for i in FEEDBACK_IDS if i not in self._link.arrived]
            self._link.close()
            if len(silent) == len(FEEDBACK_IDS):
                raise ArmError(
                    f"{self._name} does not answer; check power, cabling and `can.channel`, "
                    "and that no emergency stop cuts its supply"
                )
            raise ArmError(
                f"{self._name} answers only in part "
                f"(missing: {', '.join(silent) or 'repeated joint feedback'}); check cabling and bus load, "
                "and that the arm is not set to leader mode"
            )

    def enable(self) -> None:
        """Take CAN control and power the motors one by one, holding the measured pose.

        Targets are the measured angles until a motor has power, so that nothing moves. Raises ArmError: the
        arm reports a fault, its feedback is old, or a motor, the gripper or CAN control did not come within
        3 s. Motors that did come on stay on: without power the arm would fall.
        """
        self._armed = False
        if self._lost is not None:
            raise ArmError(f"{self._name}: its bus is being opened anew; check the cable, then try again")
        age = self._clock() - self._joints().stamp
        if age > _ENABLE_FRESHNESS:
            raise ArmError(
                f"{self._name}: feedback is {age:.2f} s old, so there is no pose to hold; check cabling"
            )
        if (fault := describe_faults(self._status(), armed=False)) is not None:
            raise ArmError(f"{self._name} cannot be enabled: {fault}; clear this first")
        deadline = self._clock() + ENABLE_TIMEOUT
        hold = list(self._joints().angles)
        for joint in range(1, JOINTS + 1):
            self._insist(
                partial(self._power_joint, joint, hold),
                partial(self._is_powered, joint),
                deadline,
                f"the motor of joint {joint} did not power up",
            )
        sdk = self._link.sdk
        opening = self._link.opening
        self._insist(
            lambda: sdk.GripperCtrl(opening, self._effort, _GRIPPER_ON, 0),
            lambda: self._status().gripper_powered,
            deadline,
            "the gripper did not power up",
        )
        self._insist(
            lambda: self._take_control(hold),
            lambda: self._status().control_mode == CAN_CONTROL,
            deadline,
            "the arm did not take CAN control",
        )
        self._armed = True
        self._mode_due = self._clock() + MODE_PERIOD

    def read(self) -> ArmState:
        """The newest feedback; a frame that is missing while the joints still come is a fault.

        Raises ArmError when the arm is not connected.
        """
        if (lost := self._lost) is not None:
            return lost
        feedback = self._joints()
        status = self._status()
        # The same object says the same.
        if status is not self._judged or self._armed != self._judged_armed:
            self._judged, self._judged_armed = status, self._armed
            self._faults = find_faults(status, armed=self._armed)
            self._enabled = all(status.powered)
        faults = [*self._faults, *self._missing()]
        if self._watch is not None and (state := self._watch.latest) is not None and state.fault:
            faults.append((FaultCode.BUS, state.fault))
        return ArmState(
            joints=joints_from_sdk(feedback.angles),
            gripper=gripper_from_sdk(self._link.opening),
            stamp=feedback.stamp,
            enabled=self._enabled,
            fault=join_faults(faults) if faults else None,
            code=gravest(faults) if faults else FaultCode.NONE,
        )

    def firmware_limits(self) -> FirmwareLimits | None:
        """The limits that the arm keeps itself; None when it does not answer within a second."""
        return read_firmware_limits(self._link, self._clock)

    def inspect(self) -> ArmReport | None:
        """Everything the arm says of itself; None while its bus is being opened anew.

        Raises ArmError when the arm is not connected.
        """
        if self._lost is not None:
            return None
        state = self._watch.latest if self._watch is not None else None
        adapter = adapter_serial(self._can.channel) if self._can.interface == "socketcan" else None
        return self._inspector.look(adapter=adapter, bus=state.name if state is not None else None)

    def send(self, joints: NDArray[np.float64], gripper: float) -> bool:
        """Command joint angles (rad, shape (6,)) and gripper (m): 0x155-7 and 0x159, now and then 0x151.

        Returns False when the bus did not take one of the frames. Raises ArmError, before any frame leaves:
        a value that is not finite or out of all range, or an arm that was not enabled.
        """
        angles = joints_to_sdk(joints)
        opening = gripper_to_sdk(gripper)
        if not self._armed:
            raise ArmError(f"{self._name} is not enabled; call enable() first")
        sdk = self._link.sdk
        failed = self._link.failed_frames
        now = self._clock()
        # Repeated only while the arm obeys: control is never taken back from a person who pressed the teach
        # button or put the arm in standby.
        if now >= self._mode_due and self._status().control_mode == CAN_CONTROL:
            sdk.ModeCtrl(CAN_CONTROL, _MOVE_J, _FULL_SPEED, _HIGH_FOLLOW)
            self._mode_due = now + MODE_PERIOD
        sdk.JointCtrl(*angles)
        sdk.GripperCtrl(opening, self._effort, _GRIPPER_ON, 0)
        return self._link.failed_frames == failed

    def close(self) -> None:
        """Stop the SDK and close the bus; the arm keeps its power and holds its last target.

        May be called at any time, more than once; takes up to a second on a silent bus.
        """
        self._armed = False
        self._closing.set()
        if self._reopening is not None:
            self._reopening.join()
            self._reopening = self._lost = None
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self._link.close()

    def _is_answering(self) -> bool:
        link = self._link
        return link.cycles >= _CYCLES_BEFORE_POSE and all(i in link.arrived for i in FEEDBACK_IDS)

    def _joints(self) -> JointFeedback:
        feedback = self._link.joints
        if feedback is None:
            raise ArmError(f"{self._name} is not connected; call connect() first")
        return feedback

    def _status(self) -> PiperStatus:
        status = self._link.status
        if status is None:
            raise ArmError(f"{self._name} is not connected; call connect() first")
        return status

    def _missing(self) -> list[Fault]:
        """Frames that stopped while joints still come; when everything stops, that is for the reader to see."""
        behind = self._link.behind
        silent = [f"{i:#x}" for i in FEEDBACK_IDS if behind(i) > _SILENCE[i]]
        return [(FaultCode.FEEDBACK, f"feedback {', '.join(silent)} stopped")] if silent else []

    def _power_joint(self, joint: int, hold: list[int]) -> None:
        """Ask for power on one motor, with every motor's target where it is (`hold` is updated)."""
        measured = self._joints().angles
        for index, powered in enumerate(self._status().powered):
            if not powered:
                hold[index] = measured[index]
        self._take_control(hold)
        self._link.sdk.EnableArm(joint)

    def _is_powered(self, joint: int) -> bool:
        return self._status().powered[joint - 1]

    def _take_control(self, hold: list[int]) -> None:
        sdk = self._link.sdk
        sdk.ModeCtrl(CAN_CONTROL, _MOVE_J, _FULL_SPEED, _HIGH_FOLLOW)
        sdk.JointCtrl(*hold)

    def _insist(
        self, request: Callable[[], None], done: Callable[[], bool], deadline: float, problem: str
    ) -> None:
        """Repeat a request until it shows in the feedback. Raises ArmError at the deadline."""
        failed = self._link.failed_frames
        while True:
            request()
            if self._wait(done, _RETRY):
                return
            if self._clock() >= deadline:
                if self._link.failed_frames > failed:
                    problem = "the bus does not take frames; check cabling and that the arm has power"
                fault = describe_faults(self._status(), armed=False)
                raise ArmError(f"{self._name}: {problem}" + (f" ({fault})" if fault else ""))

    def _wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Poll until the condition holds (True) or `timeout` s are over (False)."""
        deadline = self._clock() + timeout
        while not condition():
            if self._clock() >= deadline:
                return False
            time.sleep(_POLL)
        return True
