"""A simulated PiPER arm on a `gigaedge-sim` channel: the real frames, modelled motion.

Every 5 ms one packet leaves with what a PiPER sends: 0x2A1 status, 0x2A2-4 pose, 0x2A5-7 joints, 0x2A8
gripper and 0x251-6 motors at 200 Hz, 0x261-6 drivers at 40 Hz, together the 3040 frames/s of one arm; and
the replies to 0x472 (limits) and 0x4AF (firmware). Commands are taken once per 5 ms: 0x150 e-stop and resume,
0x151 mode, 0x155-7 joints, 0x159 gripper, 0x471 power. Layouts: piper_sdk,
protocol/protocol_v2/piper_protocol_v2.py; everything big-endian.

What the model holds to, because a runtime can be hurt by it:

- without commands the arm holds its last target; without power it falls to rest;
- power that comes back moves the arm to its last target, wherever it has fallen meanwhile;
- an e-stop is a damped descent that ignores commands; resume cuts the power at once, and each motor then
  needs a second enable; standby after CAN control cuts the power 727 ms later;
- in teach mode, and in standby after it, commands are ignored.

Not simulated: dynamics of bodies (each axis moves alone; no load, contact or collision), motor currents and
temperatures (constants), the end pose (0x2A2-4 are sent as zeros), Cartesian moves (0x152-4, 0x158), MIT
control (0x15A-F), settings (0x470, 0x474-0x47D), bit errors, and hardware resets.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final

import can

from gigaedge.clock import Clock, Deadlines, monotonic
from gigaedge.errors import ArmError
from gigaedge.robot import ARM_DIM, JOINTS
from gigaedge_runtime.devices.sim_bus import SimBusServer
from gigaedge_runtime.devices.sim_frames import (
    FACTORY_LIMITS,
    FIRMWARE,
    POWERED,
    FeedbackEncoder,
    LimitReply,
    firmware_reply,
    gripper_command,
    joint_pair,
    limits_reply,
    without,
)
from gigaedge_runtime.devices.sim_motion import Axis
from gigaedge_runtime.scheduling import HARDWARE_PRIORITY, raise_priority

PERIOD: Final = 0.005
"""s; between two packets of feedback."""

_STOPS: Final = (
    (-2.687, 2.687),
    (-0.02, 3.403),
    (-3.054, 0.02),
    (-1.745, 1.954),
    (-1.309, 1.309),
    (-2.967, 2.967),
)
"""Mechanical stops, rad: the widest of the published ones."""
_REST: Final = (None, 0.0, 0.0, None, 0.35, None)
"""Where the joints that carry weight fall to, rad; None: stays."""
_DESCENT: Final = 0.3
"""Speed of the damped descent of an e-stop, rad/s."""
_STANDBY_CUT: Final = 0.727
"""Time from standby to loss of power, s."""
_LOW_SPEED_EVERY: Final = 5
_CATCH_UP: Final = 100
"""Most steps made up after the thread was kept from running."""


class SimulatedPiper:
    """One arm with a thread of its own; serves its channel between `start` and `stop`.

    The properties may be read, and the fault methods called, from any thread.
    """

    def __init__(
        self, channel: str, home: Sequence[float], clock: Clock = monotonic, motor: type[Axis] = Axis
    ) -> None:
        """An arm that was just switched on: standby, motors off, `home` (6 joints rad, gripper m).

        It stays at `home`, as if propped up, until its motors first get power. `motor` says how an axis moves.
        Raises ArmError for a `home` of another length.
        """
        if len(home) != ARM_DIM:
            raise ArmError(f"simulated arm {channel}: home needs {ARM_DIM} values, got {len(home)}")
        self.channel = channel
        self.received: Counter[int] = Counter()
        """Frames that came from the bus, by identifier."""
        self.power_cuts = 0
        """How often a motor lost its power (the arm fell)."""
        self.peak_velocity = 0.0
        """Largest speed of any joint since the start, rad/s."""
        self._axes = [
            motor(q, low, high, rest=rest) for q, (low, high), rest in zip(home, _STOPS, _REST, strict=False)
        ]
        self._gripper = motor(home[JOINTS], 0.0, 0.1, max_velocity=0.3, max_acceleration=3.0)
        self._control = self._arm_status = self._move = self._teach = 0
        self._speed = 1.0
        self._ignored_enables: set[int] = set()
        self._cut_at: float | None = None
        self._error_code = self._error_status = 0
        self._motor_bits = [0] * JOINTS
        self._limits = list(FACTORY_LIMITS)
        self._firmware = FIRMWARE
        self._silent = self._jammed = self._unplugged = False
        self._muted: frozenset[int] = frozenset()
        self._losing = 0
        self._delay = 0.0
        self._late: deque[tuple[float, bytes | bytearray]] = deque()
        self._replies: list[bytes] = []
        self._due: list[bytes] = []
        self._encoder = FeedbackEncoder()
        self._clock = clock
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    # Life

    def start(self) -> SimulatedPiper:
        """Serve the channel. Raises ArmError when somebody serves it already."""
        try:
            server = SimBusServer(self.channel)
        except can.CanInitializationError as error:
            raise ArmError(f"simulated arm {self.channel}: {error}") from error
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, args=(server,), name=f"sim-{self.channel}")
        self._thread.daemon = True
        self._thread.start()
        return self

    def stop(self) -> None:
        """Leave the bus; its clients see the arm go. May be called more than once."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> SimulatedPiper:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # Inspection

    @property
    def joints(self) -> tuple[float, ...]:
        """Joint angles, rad, 6 values."""
        return tuple(axis.position for axis in self._axes)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The six joints and the gripper, to be moved by whoever made their motors."""
        return (*self._axes, self._gripper)

    @property
    def targets(self) -> tuple[float, ...]:
        """What the joints were last told, rad, 6 values."""
        return tuple(axis.target for axis in self._axes)

    @property
    def gripper(self) -> float:
        """Opening between the fingers, m."""
        return self._gripper.position

    @property
    def enabled(self) -> bool:
        """All six joint motors have power."""
        return all(axis.powered for axis in self._axes)

    @property
    def in_can_control(self) -> bool:
        """The arm obeys joint commands."""
        return self._control == 1 and self._arm_status == 0 and self._teach == 0

    # Deliberate faults

    def silence(self, on: bool = True) -> None:
        """Send nothing any more, as with a cut cable; commands are still heard."""
        self._silent = on

    def mute(self, *identifiers: int) -> None:
        """Leave out the frames with these identifiers; none given: leave out nothing."""
        self._muted = frozenset(identifiers)

    def lose(self, packets: int = 1) -> None:
        """Lose the next packets of feedback, as a disturbance on the cable would."""
        self._losing = packets

    def delay(self, seconds: float) -> None:
        """Send every frame so much later; 0: at once again, what was held back included.

        The delay lies before the time stamp that the receiver gives, as in a slow adapter: what shows is the
        gap at its beginning and the distance of the feedback from the command, not the age of a frame.
        """
        self._delay = seconds

    def jam(self, on: bool = True) -> None:
        """Take no frames from the bus, so that the senders' queues fill."""
        self._jammed = on

    def press_estop(self) -> None:
        """The red button: descend slowly, obey nothing until 0x150 resumes."""
        self._arm_status = 1

    def release_estop(self) -> None:
        """As if it had never been pressed: no arm does this, but a test may need the same arm twice."""
        self._arm_status = 0

    def set_teach(self, on: bool) -> None:
        """The button on the arm; when it is left again the arm is in standby."""
        self._control = 2 if on else 0
        self._teach = 1 if on else 0

    def set_error(self, *, status: int = 0, code: int = 0, joint: int = 1, driver_bits: int = 0) -> None:
        """Report an error until called again.

        `status`: 0x2A1 byte 1; `code`: 0x2A1 bytes 6-7; `driver_bits`: 0x261-6 byte 5 of `joint`.
        Called without arguments, it clears the errors of joint 1 and of the arm.
        """
        self._error_status = status
        self._error_code = code
        self._motor_bits[joint - 1] = driver_bits & ~POWERED

    def unplug(self, on: bool = True) -> None:
        """Pull the USB adapter: the channel is gone for its clients, and the arm holds; or plug it in again.

        A client has to open the channel anew, as on a real adapter, which comes back as another device.
        """
        self._unplugged = on

    def power_cycle(self) -> None:
        """Switch the supply off and on: the arm falls, and comes back in standby, without power or errors."""
        self._power(range(1, ARM_DIM + 1), on=False)
        self._control = self._arm_status = self._move = self._teach = 0
        self._error_code = self._error_status = 0
        self._motor_bits = [0] * JOINTS
        self._ignored_enables, self._cut_at = set(), None
        for axis in self._axes:
            axis.target = axis.position

    def set_limits(self, joint: int, limits: LimitReply | None = None) -> None:
        """What the firmware reports as the limits of `joint`, 1 to 6; without limits, those of the factory."""
        self._limits[joint - 1] = limits or FACTORY_LIMITS[joint - 1]

    def corrupt_limits(self, joint: int = 1) -> None:
        """Firmware memory as it was found in the field: a joint limit of -0.1 deg on both sides."""
        self.set_limits(joint, LimitReply(low=-1, high=-1))

    def set_firmware(self, version: str) -> None:
        """What the firmware says its version is."""
        self._firmware = version

    # The thread

    def _run(self, server: SimBusServer | None) -> None:
        raise_priority(HARDWARE_PRIORITY)
        deadlines = Deadlines(PERIOD, self._clock, time.sleep)
        tick = 0
        try:
            while not self._stopping.is_set():
                missed = deadlines.missed
                deadlines.wait()
                server = self._plugged(server)
                if server is not None and not self._jammed:
                    for identifier, data in server.receive():
                        self._obey(identifier, data)
                for _ in range(min(1 + deadlines.missed - missed, _CATCH_UP)):
                    self._step()
                if server is not None:
                    self._send(server, tick)
                tick += 1
        finally:
            if server is not None:
                server.close()

    def _plugged(self, server: SimBusServer | None) -> SimBusServer | None:
        """The channel's server, closed or served again as the adapter was unplugged or plugged in."""
        if self._unplugged and server is not None:
            server.close()
            return None
        if not self._unplugged and server is None:
            return SimBusServer(self.channel)
        return server

    def _step(self) -> None:
        """Move everything by one period."""
        if self._cut_at is not None and self._clock() >= self._cut_at:
            self._cut_at = None
            self._power(range(1, ARM_DIM + 1), on=False)
        peak = self.peak_velocity
        for axis in self._axes:
            if not axis.powered:
                axis.fall(PERIOD)
            elif self._arm_status == 1:
                axis.descend(PERIOD, _DESCENT)
            elif self._teach:
                axis.halt()
            else:
                axis.follow(PERIOD, self._speed)
            peak = max(peak, abs(axis.velocity))
        self.peak_velocity = peak
        if self._gripper.powered:
            self._gripper.follow(PERIOD)
        else:
            self._gripper.halt()

    # Commands

    def _obey(self, identifier: int, data: bytes) -> None:
        self.received[identifier] += 1
        if 0x155 <= identifier <= 0x157:
            if self.in_can_control:
                first = 2 * (identifier - 0x155)
                for axis, angle in zip(self._axes[first : first + 2], joint_pair(data), strict=True):
                    axis.target = angle
        elif identifier == 0x159:
            self._command_gripper(data)
        elif identifier == 0x151:
            self._set_mode(data)
        elif identifier == 0x471:
            motors = range(1, ARM_DIM + 1) if data[0] in (7, 0xFF) else range(data[0], data[0] + 1)
            self._power(motors, on=data[1] == 2)
        elif identifier == 0x150:
            if data[0] == 1:
                self._arm_status = 1
            elif data[0] == 2:
                self._resume()
        elif identifier == 0x472 and 1 <= data[0] <= JOINTS:
            self._replies.append(limits_reply(data[0], data[1], self._limits[data[0] - 1]))
        elif identifier == 0x4AF:
            self._replies += firmware_reply(self._firmware)

    def _set_mode(self, data: bytes) -> None:
        if self._teach or self._arm_status == 1:
            return
        if self._control == 1 and data[0] == 0:
            self._cut_at = self._clock() + _STANDBY_CUT
        self._control = data[0]
        self._move = data[1]
        # High follow (0xAD) has no planner and ignores the speed percentage.
        self._speed = 1.0 if data[3] == 0xAD else min(data[2], 100) / 100.0

    def _command_gripper(self, data: bytes) -> None:
        opening, code, zero = gripper_command(data)
        if zero == 0xAE:
            self._gripper.position = self._gripper.target = 0.0
        elif self.in_can_control:
            self._gripper.target = opening
        self._gripper.powered = code in (1, 3)

    def _power(self, motors: range, on: bool) -> None:
        for motor in motors:
            if on and motor in self._ignored_enables:
                self._ignored_enables.discard(motor)
            elif motor <= JOINTS:
                axis = self._axes[motor - 1]
                self.power_cuts += axis.powered and not on
                axis.powered = on
                axis.propped = axis.propped and not on
            elif motor == ARM_DIM:
                self._gripper.powered = on

    def _resume(self) -> None:
        """Leave an e-stop, as the firmware does: power off at once, standby, enable twice afterwards."""
        self._arm_status = self._control = 0
        self._power(range(1, ARM_DIM + 1), on=False)
        self._ignored_enables = set(range(1, ARM_DIM + 1))
        self._cut_at = self._clock() + _STANDBY_CUT

    # Feedback

    def _send(self, server: SimBusServer, tick: int) -> None:
        # Replies leave one period after the question: piper_sdk empties its buffer only after it has asked.
        replies, self._due, self._replies = self._due, self._replies, []
        if self._silent or not server.clients:
            return
        status = (self._control, self._arm_status or self._error_status, self._move, self._teach)
        frames = self._encoder.fast(status, self._error_code, self._axes, self._gripper)
        if tick % _LOW_SPEED_EVERY == 0:
            frames += self._encoder.slow(self._axes, self._motor_bits)
        frames += b"".join(replies)
        if self._muted:
            frames = without(frames, self._muted)
        self._transmit(server, frames)

    def _transmit(self, server: SimBusServer, frames: bytes | bytearray) -> None:
        """Broadcast a packet, or lose it, or keep it until it is late enough."""
        if self._losing > 0:
            self._losing -= 1
            return
        now = self._clock()
        self._late.append((now, frames))
        while self._late and now - self._late[0][0] >= self._delay:
            server.broadcast(self._late.popleft()[1])
