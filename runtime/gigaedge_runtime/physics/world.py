"""The physical cell while it moves: commands in, states, poses and pictures out, on its own clock alone.

Deterministic: the same scene and the same commands give the same states to the bit, in any process on one machine.
Not thread-safe, and pictures are to be taken in the thread that took the first one.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.kinematics import FINGERTIP
from gigaedge.robot import ARM_DIM, CAMERA_ROLES, ROBOT_DIM, SIDES, CameraRole, Side, arm_slice
from gigaedge_runtime.physics import engine
from gigaedge_runtime.physics.model import LARGEST_PICTURE, TIMESTEP, to_mjcf
from gigaedge_runtime.physics.painter import Image as Image
from gigaedge_runtime.physics.painter import Painter
from gigaedge_runtime.physics.scene import Scene

Array = NDArray[np.float64]

PICTURE: Final = (320, 240)
"""Width and height of a picture, px, when nothing else is asked for: what the policy is trained on."""

_WHOLE: Final = 1e-6
"""How far a time may be from a whole number of steps, steps."""


class PhysicalWorld:
    """Two arms and what is on their table. One thread uses it."""

    def __init__(self, scene: Scene, picture: tuple[int, int] = PICTURE) -> None:
        """Compiles the model and stands at its beginning.

        Args:
            scene: what is there.
            picture: width and height of every camera's picture, px.

        Raises ValueError: a picture that is too large; InputError, DeviceError: no usable MuJoCo.
        """
        if any(not 0 < size <= most for size, most in zip(picture, LARGEST_PICTURE, strict=True)):
            largest = f"{LARGEST_PICTURE[0]}x{LARGEST_PICTURE[1]}"
            raise ValueError(f"picture: expected at most {largest} px, got {picture[0]}x{picture[1]}")
        self.scene = scene
        self.picture_size = picture
        self._mujoco = engine.load()
        self._model = self._mujoco.MjModel.from_xml_string(to_mjcf(scene))
        self._data = self._mujoco.MjData(self._model)
        self._painter: Painter | None = None
        # Where joint angles and the two fingers are in MuJoCo's positions and velocities, shape (2, 8).
        self._places = np.array([self._joint_places(side) for side in SIDES])
        self._speeds = np.array([self._joint_places(side, speeds=True) for side in SIDES])
        self._steps = 0
        self.reset()

    # The contract's moving part

    def reset(self) -> None:
        """Put everything where the scene says, still; time 0."""
        self._mujoco.mj_resetData(self._model, self._data)
        start = np.array(self.scene.start, dtype=np.float64)
        for side, places in zip(SIDES, self._places, strict=True):
            values = start[arm_slice(side)]
            self._data.qpos[places] = [*values[:-1], values[-1] / 2, values[-1] / 2]
        self._data.ctrl[:] = start
        self._steps = 0
        self._derive()

    def twin(self) -> PhysicalWorld:
        """Another world that stands as this one does now, to the bit, and then goes its own way."""
        other = PhysicalWorld(self.scene, self.picture_size)
        self._mujoco.mj_copyData(other._data, other._model, self._data)
        other._steps = self._steps
        return other

    def command(self, targets: NDArray[Any]) -> None:
        """Set what the servos go to, shape (14,), rad and m; held until the next command.

        Targets beyond an arm's range end at its edge. Raises ValueError: another shape, or not a number.
        """
        if targets.shape != (ROBOT_DIM,) or not np.isfinite(targets).all():
            raise ValueError(f"targets: expected {ROBOT_DIM} finite values, got {targets}")
        self._data.ctrl[:] = targets

    def advance(self, seconds: float) -> None:
        """Let time pass. Raises ValueError: not a whole number of steps of 1/480 s."""
        steps = round(seconds / TIMESTEP)
        if steps < 0 or abs(seconds / TIMESTEP - steps) > _WHOLE:
            raise ValueError(f"seconds: expected a whole number of 1/{1 / TIMESTEP:.0f} s, got {seconds}")
        self._mujoco.mj_step(self._model, self._data, steps)
        self._steps += steps
        self._derive()

    @property
    def time(self) -> float:
        """Simulated time since the reset, s."""
        return self._steps * TIMESTEP

    @property
    def state(self) -> Array:
        """Measured joints and openings, shape (14,), rad and m (gigaedge.robot)."""
        state = np.empty(ROBOT_DIM)
        for side, places in zip(SIDES, self._places, strict=True):
            values = self._data.qpos[places]
            state[arm_slice(side)] = [*values[: ARM_DIM - 1], values[-2] + values[-1]]
        return state

    @property
    def velocity(self) -> Array:
        """How fast joints and openings change, shape (14,), rad/s and m/s."""
        velocity = np.empty(ROBOT_DIM)
        for side, places in zip(SIDES, self._speeds, strict=True):
            values = self._data.qvel[places]
            velocity[arm_slice(side)] = [*values[: ARM_DIM - 1], values[-2] + values[-1]]
        return velocity

    @property
    def configuration(self) -> Array:
        """Where everything is, in MuJoCo's own order, shape (nq,): for `place` in a world of the same scene."""
        return np.asarray(self._data.qpos.copy())

    def place(self, configuration: Array) -> None:
        """Put everything where another world of this scene has it, still, to look at it; `time` stays.

        Raises ValueError: of another scene.
        """
        if configuration.shape != (self._model.nq,):
            raise ValueError(f"configuration: expected {self._model.nq} values, got {configuration.shape}")
        self._data.qpos[:] = configuration
        self._data.qvel[:] = 0.0
        self._derive()

    # What is where

    def pose(self, name: str) -> Array:
        """`T_cell_object`, shape (4, 4), of an object or of a body of the arms. Raises ValueError: no such name."""
        body = self._body(name)
        place = np.eye(4)
        place[:3, :3] = self._data.xmat[body].reshape(3, 3)
        place[:3, 3] = self._data.xpos[body]
        return place

    def flange(self, side: Side) -> Array:
        """`T_cell_link6`, shape (4, 4)."""
        return self.pose(f"{side}_link6")

    def fingertip(self, side: Side) -> Array:
        """The point between the fingertips, m, shape (3,)."""
        flange = self.flange(side)
        return np.asarray(flange[:3, 3] + FINGERTIP * flange[:3, 2])

    def speed(self, name: str) -> float:
        """How fast a body's frame moves, m/s. Raises ValueError: no such name."""
        velocity = np.zeros(6)
        kind = self._mujoco.mjtObj.mjOBJ_BODY
        self._mujoco.mj_objectVelocity(self._model, self._data, kind, self._body(name), velocity, 0)
        return float(np.linalg.norm(velocity[3:]))

    def touching(self, a: str, b: str) -> bool:
        """Whether two bodies touch, each with all that hangs on it: `left_gripper` has both its fingers.

        Raises ValueError: no such name.
        """
        first, second = self._with_all_on_it(a), self._with_all_on_it(b)
        for one, other in self._model.geom_bodyid[self._data.contact.geom]:
            if (first[one] and second[other]) or (first[other] and second[one]):
                return True
        return False

    # Pictures

    def picture(self, role: CameraRole) -> Image:
        """What a camera sees now, RGB, shape (height, width, 3). Raises DeviceError: pictures cannot be drawn here."""
        if role not in CAMERA_ROLES:
            raise ValueError(f"role: expected one of {', '.join(CAMERA_ROLES)}, got {role!r}")
        if self._painter is None:
            self._painter = Painter(self._model, *self.picture_size)
        return self._painter.picture(self._data, role)

    def close(self) -> None:
        """Free what pictures are drawn with; the next picture opens it again."""
        if self._painter is not None:
            self._painter.close()
            self._painter = None

    def __enter__(self) -> PhysicalWorld:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _derive(self) -> None:
        """Poses, contacts and speeds of these positions and velocities.

        Nothing that the next step starts from: how time is cut into calls of `advance` changes no bit of it.
        """
        self._mujoco.mj_fwdPosition(self._model, self._data)
        self._mujoco.mj_fwdVelocity(self._model, self._data)

    def _joint_places(self, side: Side, speeds: bool = False) -> list[int]:
        names = [
            *(f"{side}_joint{joint}" for joint in range(1, ARM_DIM)),
            f"{side}_finger_a",
            f"{side}_finger_b",
        ]
        joints = [self._model.joint(name) for name in names]
        return [int((joint.dofadr if speeds else joint.qposadr)[0]) for joint in joints]

    def _body(self, name: str) -> int:
        body = int(self._mujoco.mj_name2id(self._model, self._mujoco.mjtObj.mjOBJ_BODY, name))
        if body < 0:
            things = ", ".join(thing.name for thing in self.scene.objects) or "none"
            raise ValueError(f"no body {name!r} in this scene; its objects: {things}")
        return body

    def _with_all_on_it(self, name: str) -> NDArray[np.bool_]:
        """Which bodies are this one or hang on it."""
        chosen = np.zeros(self._model.nbody, dtype=bool)
        chosen[self._body(name)] = True
        # Parents come before their children.
        for body in range(1, self._model.nbody):
            chosen[body] |= chosen[self._model.body_parentid[body]]
        return chosen
