"""piper_sdk 0.6.2, opened, watched and closed: everything that must know how the SDK behaves inside.

The SDK is used as published; only public methods, its `C_STD_CAN` object and, to stop its threads, its
name-mangled events are touched. Why this file exists:

- `CreateCanBus` hides a bus that did not open, so it is looked at afterwards;
- a failed send is a log line only, so `SendCanMessage` is counted and the log is silenced;
- feedback getters keep their last value for ever and share one stamp between frames, so the read callback is
  wrapped: it notes when each identifier last came, publishes the joints as one immutable value after the
  last of their three frames (no torn reads), the status when a frame changed it, so that a tick asks no getter, and
  drops what the SDK would misread (error frames, short ones);
- `DisconnectPort` leaves threads running and the object in a table of singletons, so both are cleaned up.

The bus is filtered to what the runtime reads, which spares the decoder 1 800 of 3 040 frames/s.
"""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import can

from gigaedge.clock import Clock
from gigaedge.errors import ArmError
from gigaedge.robot import JOINTS
from gigaedge.site import CanConfig
from gigaedge_runtime.devices.piper_faults import PiperStatus
from gigaedge_runtime.devices.sim_bus import INTERFACE as SIM_INTERFACE
from gigaedge_runtime.scheduling import READERS

if TYPE_CHECKING:
    from piper_sdk import C_PiperInterface_V2

STATUS_ID: Final = 0x2A1
JOINT_IDS: Final = (0x2A5, 0x2A6, 0x2A7)
GRIPPER_ID: Final = 0x2A8
DRIVER_IDS: Final = tuple(range(0x261, 0x261 + JOINTS))
LIMIT_REPLY_IDS: Final = (0x473, 0x47C)
REPLY_IDS: Final = (*LIMIT_REPLY_IDS, 0x476, 0x4AF)
FEEDBACK_IDS: Final = (STATUS_ID, *JOINT_IDS, GRIPPER_ID, *DRIVER_IDS)

_STATUS_IDS: Final = frozenset((STATUS_ID, GRIPPER_ID, *DRIVER_IDS))

FIRST_JOINT_COMMAND_ID: Final = 0x155
"""The first frame of a joint command: joints 1 and 2."""

BITRATE: Final = 1_000_000
"""bit/s; PiPER knows no other."""

CLOCK_STEP: Final = 0.02
"""s; wall clock and monotonic clock drift apart by far less between two frames, unless somebody sets one."""

CLOCK_DOUBT: Final = 1.0
"""s; so long after a step of the wall clock the kernel's stamps count for nothing: no queue holds more frames."""

_THREAD_TIMEOUT: Final = 2.0
"""s; the SDK's reader looks at its stop event once a second on a silent bus."""


@dataclass(frozen=True)
class JointFeedback:
    """Six joints of one feedback cycle, as the SDK decoded them."""

    angles: tuple[int, int, int, int, int, int]
    """0.001 deg."""
    stamp: float
    """When the oldest of the three frames arrived, s on CLOCK_MONOTONIC."""


class PiperLink:
    """An open SDK object. `open` and everything else from one thread; the SDK's reader fills the feedback."""

    def __init__(self, can_config: CanConfig, clock: Clock) -> None:
        """A closed link to the arm on this bus."""
        self.joints: JointFeedback | None = None
        """The newest joints, or None before all three of their frames came."""
        self.cycles = 0
        """Complete sets of joint frames with a stamp of their own since the bus was opened."""
        self.arrived: dict[int, float] = {}
        """When each identifier last arrived, s on CLOCK_MONOTONIC."""
        self.counts: dict[int, int] = {}
        """How many frames of each identifier came since the bus was opened."""
        self.status: PiperStatus | None = None
        """The newest; another object only when something in it is different. None before the first frame of it."""
        self.opening = 0
        """Of the gripper, 0.001 mm."""
        self._joint_frames = 0
        self._joint_frames_at: dict[int, int] = {}
        self._said: dict[int, bytes] = {}
        """What the last frame of each identifier of the status held."""
        self.replies: dict[tuple[int, int], bytes] = {}
        """The newest answer to each question (0x472): by identifier, 0x473 or 0x47C, and joint, 1 to 6. The
        SDK's getters for all joints return one and the same joint."""
        self.refused_frames = 0
        """Received frames that are no standard data frames of eight bytes."""
        self.failed_frames = 0
        """Sent frames that the bus did not take."""
        self.sent_at = 0.0
        """When the bus took the last `FIRST_JOINT_COMMAND_ID`, s on CLOCK_MONOTONIC. On SocketCAN: the kernel has put
        it into the interface's queue; with the SDK's sockets it does not say when the frame was on the wire."""
        self._can = can_config
        self._clock = clock
        # Other adapters stamp with clocks of their own.
        self._stamped = self._kernel_stamps = can_config.interface in ("socketcan", SIM_INTERFACE)
        self._wall_ahead = 0.0
        self._doubted_until = -math.inf
        self._sdk: C_PiperInterface_V2 | None = None

    @property
    def sdk(self) -> C_PiperInterface_V2:
        """The SDK object. Raises ArmError when the link is not open."""
        if self._sdk is None:
            raise ArmError(f"{self._can.channel}: the arm is not connected; call connect() first")
        return self._sdk

    def behind(self, identifier: int) -> int:
        """How many other joint frames came since this feedback last did: it was lost if they still come.

        Counted, so that a stall of the computer loses nothing.
        """
        return self._joint_frames - self._joint_frames_at[identifier]

    def open(self) -> None:
        """Open the bus and start the SDK's reader. Raises ArmError in one line; then nothing is left open."""
        from piper_sdk import C_PiperInterface_V2

        channel = self._can.channel
        if channel in C_PiperInterface_V2._instances:
            raise ArmError(
                f"{channel}: opened already in this process; close the other arm or correct `can.channel`"
            )
        self.joints, self.cycles, self.arrived = None, 0, {}
        self.counts, self.replies = {}, {}
        self.status, self._said = None, {}
        self._joint_frames, self._joint_frames_at = 0, dict.fromkeys(FEEDBACK_IDS, 0)
        self.refused_frames = self.failed_frames = 0
        self._wall_ahead = time.time() - self._clock()
        try:
            with warnings.catch_warnings():
                # The SDK passes python-can the old name of a parameter; python-can is pinned below 5.
                warnings.filterwarnings("ignore", message=".*bustype", category=DeprecationWarning)
                self._sdk = sdk = self._construct()
            bus = sdk.GetCanBus()
            if bus.recv_bus is None or bus.send_bus is None:
                raise ArmError(self._not_opened())
            self._watch(sdk, bus)
            sdk.ConnectPort()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop the SDK's threads and close the bus; sends nothing. May be called more than once."""
        from piper_sdk import C_PiperInterface_V2

        sdk, self._sdk = self._sdk, None
        if sdk is None:
            return
        for event in ("read_can_stop_event", "can_monitor_stop_event"):
            _private(sdk, event).set()
        for thread in (_private(sdk, "can_deal_th"), _private(sdk, "can_monitor_th")):
            if thread is not None:
                thread.join(_THREAD_TIMEOUT)
        _private(sdk, "fps_counter").stop()
        # After the reader has ended: closing a bus under it could hand its file descriptor to somebody else.
        sdk.DisconnectPort()
        sdk.GetCanBus().Close()
        C_PiperInterface_V2._instances.pop(self._can.channel, None)
        self.joints = self.status = None

    def _construct(self) -> C_PiperInterface_V2:
        from piper_sdk import C_PiperInterface_V2, LogLevel

        channel, interface = self._can.channel, self._can.interface
        # The SDK logs each failed frame, 800 lines/s at worst, and sets the level of its handlers only.
        logging.getLogger("PIPER").setLevel(LogLevel.SILENT)
        try:
            if interface == "socketcan":
                # Checks that the interface exists, is up and runs at 1 Mbit/s, then opens it.
                return C_PiperInterface_V2(channel, judge_flag=True, logger_level=LogLevel.SILENT)
            sdk = C_PiperInterface_V2(
                channel, judge_flag=False, can_auto_init=False, logger_level=LogLevel.SILENT
            )
            sdk.CreateCanBus(channel, bustype=interface, expected_bitrate=BITRATE, judge_flag=False)
        except ConnectionError as error:
            C_PiperInterface_V2._instances.pop(channel, None)
            raise ArmError(self._not_opened(error.__context__)) from error
        return sdk

    def _not_opened(self, cause: BaseException | None = None) -> str:
        """Why the bus did not open, and the mend; `cause` is what the SDK met (JudgeCanInfo, socket)."""
        channel, interface = self._can.channel, self._can.interface
        up = f"`ip link set {channel} up type can bitrate {BITRATE}`"
        if interface == SIM_INTERFACE:
            return f"{channel}: no simulated arm serves this channel; start one or correct `can.channel`"
        text = " ".join(str(cause).split()) if cause else "it did not open"
        if interface != "socketcan":
            return (
                f"{channel}: cannot open the CAN interface ({interface}: {text}); "
                "check `can.interface` and `can.channel`"
            )
        if "does not exist" in text:
            return f"{channel}: no such CAN interface; bring it up with {up} or correct `can.channel`"
        if "is not UP" in text:
            return f"{channel}: the CAN interface is down; bring it up with {up}"
        if "bitrate" in text:
            return (
                f"{channel}: no CAN interface at {BITRATE} bit/s ({text}); "
                f"set it with `ip link set {channel} down`, then {up}"
            )
        return f"{channel}: cannot open the CAN interface ({text}); bring it up with {up}"

    def _watch(self, sdk: C_PiperInterface_V2, bus: Any) -> None:
        """Count sends, filter what is received, and stand between the bus and the SDK's decoder."""
        taken = bus.CAN_STATUS.SEND_MESSAGE_SUCCESS
        send_message: Callable[..., object] = bus.SendCanMessage

        def send_and_count(arbitration_id: int, *args: Any, **kwargs: Any) -> object:
            status = send_message(arbitration_id, *args, **kwargs)
            if status is not taken:
                self.failed_frames += 1
            elif arbitration_id == FIRST_JOINT_COMMAND_ID:
                self.sent_at = self._clock()
            return status

        bus.SendCanMessage = send_and_count
        bus.recv_bus.set_filters(
            [{"can_id": i, "can_mask": 0x7FF, "extended": False} for i in (*FEEDBACK_IDS, *REPLY_IDS)]
        )
        decode = bus.callback_function

        def receive(message: can.Message) -> None:
            READERS.pass_through()
            if (
                message.is_error_frame
                or message.is_extended_id
                or message.is_remote_frame
                or message.dlc != 8
            ):
                self.refused_frames += 1
                return
            decode(message)
            self._compare_clocks()
            self._note(sdk, message)

        bus.callback_function = receive

    def _compare_clocks(self) -> None:
        """Doubt the kernel's stamps for a while when the wall clock was set: older frames would look hours old."""
        # A reader that is kept waiting between two clocks must not take that for a step.
        before, wall, after = self._clock(), time.time(), self._clock()
        if not wall - after - CLOCK_STEP <= self._wall_ahead <= wall - before + CLOCK_STEP:
            self._doubted_until = after + CLOCK_DOUBT
        self._wall_ahead = wall - after
        self._kernel_stamps = self._stamped and after >= self._doubted_until

    def _note(self, sdk: C_PiperInterface_V2, message: can.Message) -> None:
        """In the SDK's reader thread, after it decoded a frame: note its age, publish whole joint sets."""
        # The kernel stamps a frame when it arrives: waiting in a queue that the reader is behind with counts
        # as age. A clock set back gives a negative wait, which counts as none.
        waited = max(0.0, time.time() - message.timestamp) if self._kernel_stamps else 0.0
        arrived, identifier = self.arrived, message.arbitration_id
        arrived[identifier] = self._clock() - waited
        self.counts[identifier] = self.counts.get(identifier, 0) + 1
        if identifier in LIMIT_REPLY_IDS:
            self.replies[identifier, message.data[0]] = bytes(message.data)
        if identifier in JOINT_IDS:
            self._joint_frames += 1
        self._joint_frames_at[identifier] = self._joint_frames
        if identifier in _STATUS_IDS and self._said.get(identifier) != message.data:
            self._said[identifier] = bytes(message.data)
            status = read_status(sdk)
            if status != self.status:
                self.status = status
            self.opening = sdk.GetArmGripperMsgs().gripper_state.grippers_angle
        if identifier != JOINT_IDS[-1]:
            return
        stamp = min(arrived.get(joint_id, -math.inf) for joint_id in JOINT_IDS)
        if stamp == -math.inf:
            return
        state = sdk.GetArmJointMsgs().joint_state
        if self.joints is None or stamp > self.joints.stamp:
            self.cycles += 1
        self.joints = JointFeedback(
            (state.joint_1, state.joint_2, state.joint_3, state.joint_4, state.joint_5, state.joint_6), stamp
        )


def read_status(sdk: C_PiperInterface_V2) -> PiperStatus:
    """What the SDK last decoded of 0x2A1, 0x261-6 and 0x2A8, as plain integers."""
    arm = sdk.GetArmStatus().arm_status
    drivers = sdk.GetArmLowSpdInfoMsgs()
    return PiperStatus(
        control_mode=int(arm.ctrl_mode),
        arm_status=int(arm.arm_status),
        teach_status=int(arm.teach_status),
        error_code=int(arm.err_code),
        joint_bits=tuple(
            getattr(drivers, f"motor_{joint}").foc_status_code for joint in range(1, JOINTS + 1)
        ),
        gripper_bits=sdk.GetArmGripperMsgs().gripper_state.status_code,
    )


def _private(sdk: C_PiperInterface_V2, name: str) -> Any:
    """An attribute that the SDK keeps to itself and offers no method for (0.6.2 is pinned)."""
    return getattr(sdk, f"_C_PiperInterface_V2__{name}")
