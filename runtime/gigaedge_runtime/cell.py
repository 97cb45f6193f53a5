"""A cell that is looked at, not run: cameras that deliver, arms that are read, and one slow move at a time.

    with open_cell(site) as cell:
        pictures = cell.next_pictures()
        cell.move("left", joints)

Arms are only listened to; a move goes through the control process, which is there for as long as the move takes:
limits, latch and watchdogs are those of a run. Simulated devices live in this process while the cell is open.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.clock import monotonic
from gigaedge.errors import ArmError, CameraError, InputError
from gigaedge.robot import CAMERA_ROLES, JOINTS, ROBOT_DIM, SIDES, CameraRole, Side, arm_slice
from gigaedge.site import ArmConfig, Site
from gigaedge_runtime.capture import CameraSet, open_cameras
from gigaedge_runtime.control import LOST
from gigaedge_runtime.devices import Frame
from gigaedge_runtime.devices.piper import PiperArm
from gigaedge_runtime.hosting import simulated_arms
from gigaedge_runtime.latch import clear_latch
from gigaedge_runtime.mailbox import Order
from gigaedge_runtime.run import attend_arms

Array = NDArray[np.float64]

CAMERA_TIMEOUT: Final = 10.0
"""s; a RealSense that was just plugged in takes three."""
HISTORY: Final = 30.0
"""s of feedback that are kept."""
ARRIVED: Final = 0.02
"""rad; an arm whose joints are this near to where it was sent stands there."""

_POLL: Final = 0.0025
"""s between two looks at an arm that reports every 5 ms."""
_LENGTH: Final = round(HISTORY * 200)


class Follower:
    """One arm that is listened to: what it reported, and when. A thread of its own owns the connection."""

    def __init__(self, config: ArmConfig, max_age: float) -> None:
        """Connects nothing yet; `max_age`, s: older feedback is no measurement."""
        self.side = config.side
        self._arm = PiperArm(config.side, config.can)
        self._max_age = max_age
        self._samples: deque[tuple[float, tuple[float, ...]]] = deque(maxlen=_LENGTH)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Connect, without commanding anything. Raises ArmError: no such interface, no answer."""
        self._arm.connect()
        self._sample()
        self._thread = threading.Thread(target=self._run, name=f"follow-{self.side}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Leave the bus; nothing was changed. May be called more than once."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._arm.close()

    def newest(self) -> Array:
        """Joints, rad, and gripper, m, now; shape (7,). Raises ArmError: they are too old."""
        stamp, values = self._samples[-1]
        age = monotonic() - stamp
        if age > self._max_age:
            raise ArmError(
                f"{self.side} arm: its feedback is {age:.2f} s old, at most {self._max_age:g} s is allowed; "
                "check power and cabling"
            )
        return np.array(values)

    def at(self, moment: float) -> Array:
        """Joints, rad, shape (6,), at a moment, s on CLOCK_MONOTONIC. Raises ArmError: none that old or new."""
        stamps, joints = self.history()
        if not stamps[0] <= moment <= stamps[-1] + self._max_age:
            raise ArmError(
                f"{self.side} arm: no feedback of {monotonic() - moment:.2f} s ago; "
                f"there is some of the last {monotonic() - stamps[0]:.2f} s"
            )
        return np.array([np.interp(moment, stamps, column) for column in joints.T])

    def history(self) -> tuple[Array, Array]:
        """Stamps, s on CLOCK_MONOTONIC, shape (n,), and joints, rad, shape (n, 6)."""
        samples = list(self._samples)
        stamps = np.array([stamp for stamp, _ in samples])
        return stamps, np.array([values[:JOINTS] for _, values in samples])

    def _run(self) -> None:
        while not self._stopping.wait(_POLL):
            self._sample()

    def _sample(self) -> None:
        state = self._arm.read()
        if not self._samples or state.stamp > self._samples[-1][0]:
            self._samples.append((state.stamp, (*state.joints.tolist(), state.gripper)))
        elif monotonic() - state.stamp > LOST:
            self._arm.reconnect()


class Cell:
    """The open cell (`gigaedge_calibration.live.LiveCell`).

    One thread calls it; while that one waits for a move, another may call everything but `move`.
    """

    def __init__(self, site: Site, cameras: CameraSet | None, followers: Mapping[Side, Follower]) -> None:
        """`site` as arms are found in it: simulated ones on their channels."""
        self._site = site
        self._cameras = cameras
        self._followers = followers

    def pictures(self) -> dict[CameraRole, Frame]:
        """The newest picture of every camera, at once; of those without one yet, none.

        Raises CameraError when a camera was lost.
        """
        cameras = self._cameras.cameras if self._cameras is not None else {}
        newest = {role: camera.latest() for role, camera in cameras.items()}
        return {role: frame for role, frame in newest.items() if frame is not None}

    def next_pictures(self, timeout: float = 2.0) -> dict[CameraRole, Frame]:
        """A picture of every camera that was exposed after this call. Raises CameraError: none within `timeout`, s."""
        begin = monotonic()
        wanted = set(self._cameras.cameras if self._cameras is not None else ())
        fresh: dict[CameraRole, Frame] = {}
        while True:
            for role, frame in self.pictures().items():
                if role not in fresh and frame.captured > begin:
                    fresh[role] = frame
            missing = sorted(wanted - set(fresh))
            if not missing:
                return fresh
            if monotonic() - begin > timeout:
                raise CameraError(
                    f"no new picture from {', '.join(missing)} within {timeout:g} s; check cable and USB 3 port"
                )
            time.sleep(_POLL)

    def joints(self, side: Side) -> Array:
        """Measured joint angles now, rad, shape (6,). Raises ArmError: stale, or no such arm in this cell."""
        return self._follower(side).newest()[:JOINTS]

    def state(self) -> Array:
        """Measured state of both arms, 14 values (gigaedge.robot); an absent arm is at its `pose`.

        Raises ArmError as `joints` does.
        """
        state = np.empty(ROBOT_DIM)
        for side in SIDES:
            pose = self._site.arm(side).pose
            state[arm_slice(side)] = self._follower(side).newest() if pose is None else pose
        return state

    def joints_at(self, side: Side, time: float) -> Array:
        """Joint angles at `time`, s on CLOCK_MONOTONIC within the last half minute, interpolated, rad, shape (6,).

        Raises ArmError: no feedback of that time, or no such arm in this cell.
        """
        return self._follower(side).at(time)

    def history(self, side: Side) -> tuple[Array, Array]:
        """The last half minute of feedback: stamps, s on CLOCK_MONOTONIC, (n,), and joint angles, rad, (n, 6).

        Raises ArmError: no such arm in this cell.
        """
        return self._follower(side).history()

    def move(self, side: Side, joints: Array) -> None:
        """Move one arm slowly, through the limits, to joint angles, rad, shape (6,); return when it stands there.

        The other arm holds where it is, both grippers too. Raises InputError, before anything moves: not six finite
        angles, or one beyond the site's limits; ArmError: refused, latched, at fault, blocked; KeyboardInterrupt:
        it was told to stop.
        """
        target = self._allowed(side, joints)
        parks = {other: self._within_limits(follower.newest()) for other, follower in self._followers.items()}
        for arm in self._site.arms:
            if arm.driver != "absent" and arm.side not in parks:
                raise ArmError(
                    f"{arm.side} arm: it would be powered, and is not opened in this cell; open both arms"
                )
        parks[side][:JOINTS] = target
        arms = tuple(
            arm.model_copy(update={"park": tuple(parks[arm.side].tolist())}) if arm.side in parks else arm
            for arm in self._site.arms
        )
        report = attend_arms(self._site.model_copy(update={"arms": arms}), Order.PARK)
        if report.ended_by == "signal":
            raise KeyboardInterrupt
        away = np.abs(self.joints(side) - target)
        worst = int(away.argmax())
        if away[worst] > ARRIVED:
            raise ArmError(
                f"{side} arm: joint {worst + 1} stands {away[worst]:.3f} rad from where it was sent; "
                "see that nothing is in its way"
            )

    def _allowed(self, side: Side, joints: Array) -> Array:
        target = np.asarray(joints, dtype=np.float64)
        if target.shape != (JOINTS,) or not np.isfinite(target).all():
            raise InputError(f"{side} arm: expected {JOINTS} finite joint angles, got {target.tolist()}")
        self._follower(side)
        limits = self._site.limits
        for joint, (angle, low, high) in enumerate(
            zip(target.tolist(), limits.position_min, limits.position_max, strict=True), start=1
        ):
            if not low <= angle <= high:
                raise InputError(
                    f"{side} arm: joint {joint} at {angle:.3f} rad is beyond the site's limits {low:g}..{high:g}; "
                    "nothing was moved"
                )
        return target

    def _within_limits(self, values: Array) -> Array:
        """Where an arm holds: where it stands, and no further out than the limits allow."""
        limits = self._site.limits
        return np.clip(
            values, (*limits.position_min, limits.gripper_min), (*limits.position_max, limits.gripper_max)
        )

    def _follower(self, side: Side) -> Follower:
        follower = self._followers.get(side)
        if follower is None:
            why = "absent" if self._site.arm(side).driver == "absent" else "not opened"
            raise ArmError(f"{side} arm: it is {why} in this cell")
        return follower


@contextmanager
def open_cell(
    site: Site, cameras: Collection[CameraRole] | None = None, arms: Collection[Side] | None = None
) -> Iterator[Cell]:
    """The cell of a site, open inside the block.

    Args:
        site: the robot cell.
        cameras: which to open; None: all.
        arms: which to connect to, without commanding them; None: all that exist. Absent ones are left out.

    Raises CameraError or ArmError: a device is absent, silent or refuses; ConfigError: a simulation that cannot be.
    """
    roles = CAMERA_ROLES if cameras is None else tuple(cameras)
    sides = SIDES if arms is None else tuple(arms)
    with ExitStack() as stack:
        reachable = stack.enter_context(simulated_arms(site)) if sides else site
        stack.callback(_forget, [arm for arm in reachable.arms if site.arm(arm.side).driver == "sim"])
        followers: dict[Side, Follower] = {}
        for arm in reachable.arms:
            if arm.side in sides and arm.driver != "absent":
                follower = Follower(arm, site.timing.max_feedback_age)
                stack.callback(follower.stop)
                follower.start()
                followers[arm.side] = follower
        opened = None
        if roles:
            wanted = [camera for camera in site.cameras if camera.role in roles]
            opened = stack.enter_context(open_cameras(wanted, reachable))
            opened.wait_ready(CAMERA_TIMEOUT)
        yield Cell(reachable, opened, followers)


def _forget(simulated: list[ArmConfig]) -> None:
    """Simulated arms come fresh with each cell and leave no latch behind."""
    for arm in simulated:
        if arm.driver == "piper":
            clear_latch(arm)
