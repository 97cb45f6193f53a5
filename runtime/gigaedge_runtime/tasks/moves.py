"""The grammar of an expert: move above, descend, close, lift; every word is a stream of joint targets.

Moves are of minimum jerk (Flash and Hogan 1985): they begin and end at rest, and their speed is a bell. A word that the
arm cannot do - its goal is out of reach - raises OutOfReach, which ends the expert.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.kinematics import FINGERTIP, link6_pose
from gigaedge.poses import pose
from gigaedge.robot import ARM_DIM, JOINTS, Side, arm_slice
from gigaedge_runtime.physics.arm import BASE_Y
from gigaedge_runtime.physics.scene import STROKE
from gigaedge_runtime.tasks.inverse import joints_of
from gigaedge_runtime.tasks.task import RATE, View

Array = NDArray[np.float64]

OPEN: Final = STROKE
CLOSED: Final = 0.0
"""m of opening. The grip's force is limited, so that a closed gripper holds whatever is in between."""

TILTS: Final = (0.3, 0.45, 0.15, 0.6, 0.75, 0.0)
"""rad from straight down, outwards; the first that the arm reaches is taken. Joint 5 does not let it point straight
down from high up."""

_SPEED: Final = 1.6
"""rad/s, the fastest joint at the middle of a move."""
_ACCELERATION: Final = 4.5
"""rad/s^2; both within what the cell's limits allow."""
_SHORTEST: Final = 0.25
"""s."""
_LINE_SPEED: Final = 0.3
"""m/s at the middle of a straight move."""
_LINE_ACCELERATION: Final = 1.5
"""m/s^2."""
_GRIP_TIME: Final = 0.35
"""s from open to closed, or back."""

_PEAK_SPEED: Final = 1.875
_PEAK_ACCELERATION: Final = 10 / 3**0.5
"""Of a move of minimum jerk over distance 1 in time 1."""


class OutOfReach(Exception):  # noqa: N818 - it ends an expert, and is no error
    """No joint angles bring the hand there."""


def minimum_jerk(seconds: float) -> Array:
    """Parts of the way at the ticks after the beginning, from above 0 to 1; shape (n,)."""
    ticks = max(1, int(np.ceil(seconds * RATE)))
    time = np.arange(1, ticks + 1) / ticks
    return np.asarray(time**3 * (10 - 15 * time + 6 * time**2))


def hand_pose(point: Array, heading: float, tilt: float) -> Array:
    """`T_cell_link6`, shape (4, 4), of a hand whose fingertips meet at `point`, m, (3,), in the cell.

    The fingers point down, leaning by `tilt` towards `heading` (rad about z, 0 is ahead), and open across it.
    """
    across = np.array((-np.sin(heading), np.cos(heading), 0.0))
    along = np.array((np.sin(tilt) * np.cos(heading), np.sin(tilt) * np.sin(heading), -np.cos(tilt)))
    turned = np.stack([np.cross(across, along), across, along], axis=1)
    return pose(turned, point - FINGERTIP * along)


class Hands:
    """Both arms as an expert moves them: one at a time, the other one staying where it is."""

    def __init__(self, world: View) -> None:
        """Begin where the arms are measured to be."""
        self.targets = world.state.copy()
        """The last targets, rad and m, shape (14,)."""

    def joints(self, side: Side) -> Array:
        """One arm's, rad, (6,)."""
        return np.asarray(self.targets[arm_slice(side)][:JOINTS])

    def tip(self, side: Side) -> Array:
        """Where one arm's fingertips meet, m, (3,), in the cell."""
        hand = self.flange(side)
        return np.asarray(hand[:3, 3] + FINGERTIP * hand[:3, 2])

    def flange(self, side: Side) -> Array:
        """`T_cell_link6`, (4, 4), of the targets."""
        hand = link6_pose(self.joints(side))
        hand[1, 3] += BASE_Y[side]
        return hand

    def opening(self, side: Side) -> float:
        """One gripper's, m."""
        return float(self.targets[arm_slice(side)][JOINTS])

    def heading(self, side: Side) -> float:
        """Where one arm's fingers lean to, rad about z; see `hand_pose`."""
        across = self.flange(side)[:3, 1]
        return float(np.arctan2(-across[0], across[1]))

    def tilt(self, side: Side) -> float:
        """How far one arm's fingers are from pointing straight down, rad."""
        return float(np.arccos(np.clip(-self.flange(side)[2, 2], -1, 1)))

    def reach(self, side: Side, point: Array, heading: float, tilts: tuple[float, ...] = TILTS) -> Array:
        """Joints, rad, (6,), with the fingertips at `point`, leaning by the first tilt that goes. Raises OutOfReach."""
        for tilt in tilts:
            joints = self._solve(side, hand_pose(point, heading, tilt), self.joints(side))
            if joints is not None:
                return joints
        raise OutOfReach

    def swing(self, side: Side, joints: Array, opening: float) -> Iterator[Array]:
        """Turn all joints to their goal, rad, (6,), at once, the gripper opening or closing on the way."""
        begin = self.targets[arm_slice(side)].copy()
        end = np.append(joints, opening)
        turn = float(np.abs(end - begin)[:JOINTS].max())
        seconds = max(
            _SHORTEST, _PEAK_SPEED * turn / _SPEED, float(np.sqrt(_PEAK_ACCELERATION * turn / _ACCELERATION))
        )
        for part in minimum_jerk(seconds):
            yield self._set(side, begin + part * (end - begin))

    def line(self, side: Side, shift: Array, speed: float = _LINE_SPEED) -> Iterator[Array]:
        """Move the hand along a straight line by `shift`, m, (3,), as it is turned now. Raises OutOfReach."""
        begin, opening = self.flange(side), self.opening(side)
        distance = float(np.linalg.norm(shift))
        seconds = max(
            _SHORTEST,
            _PEAK_SPEED * distance / speed,
            float(np.sqrt(_PEAK_ACCELERATION * distance / _LINE_ACCELERATION)),
        )
        path = []
        joints = self.joints(side)
        for part in minimum_jerk(seconds):
            hand = begin.copy()
            hand[:3, 3] += part * shift
            solved = self._solve(side, hand, joints)
            if solved is None or np.abs(solved - joints).max() > 0.5:  # another branch: a leap, no line
                raise OutOfReach
            joints = solved
            path.append(joints)
        for joints in path:
            yield self._set(side, np.append(joints, opening))

    def grip(self, side: Side, opening: float) -> Iterator[Array]:
        """Open or close the gripper to `opening`, m, where the hand is."""
        begin = self.targets[arm_slice(side)].copy()
        end = np.append(begin[:JOINTS], opening)
        for part in minimum_jerk(_GRIP_TIME):
            yield self._set(side, begin + part * (end - begin))

    def keep_closed(self, side: Side) -> None:
        """Go on pressing: the opening that was measured is where the fingers were stopped, not what they were told."""
        self.targets[arm_slice(side)][JOINTS] = CLOSED

    def wait(self, seconds: float) -> Iterator[Array]:
        """Stay."""
        for _ in range(round(seconds * RATE)):
            yield self.targets.copy()

    def _solve(self, side: Side, hand: Array, near: Array) -> Array | None:
        base = hand.copy()
        base[1, 3] -= BASE_Y[side]
        return joints_of(base, near)

    def _set(self, side: Side, values: Array) -> Array:
        self.targets[arm_slice(side)] = values.reshape(ARM_DIM)
        return np.array(self.targets)
