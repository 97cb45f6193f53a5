"""One attempt of a task in simulated time: the runtime's own two loops, in one process, as fast as the machine allows.

`ControlLoop` and `PolicyLoop` are those of a run on the robot, unchanged; limits, states and hand-over are what they
are there. Only what surrounds them is different: the clock is the world's, and stands still while anything computes.

    tick       the world moves by one period of control; control reads the arms, limits, commands
    exposure   the policy's loop may look: pictures and measured state of this very tick
    inference  goes on for a stated simulated time, in which ticks go on and the arms follow the chunk before;
               then the chunk lies in the mailbox, and the next tick takes it

So everything that is sent follows from the scene, the bundle and the seed: two attempts give the same bits. Arms and
cameras are those of `lockstep_devices`: there is no SDK and no CAN bus in lockstep, and no picture is ever late. A run
in real time has them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gigaedge.site import Site
from gigaedge_runtime.control import ControlLoop
from gigaedge_runtime.lockstep_devices import LockstepCell
from gigaedge_runtime.mailbox import Board, Order
from gigaedge_runtime.policy_process import Actions, Planned, Planner, PolicyLoop
from gigaedge_runtime.rtc import Guidance
from gigaedge_runtime.states import State

Ending = Literal["success", "time", "fault"]
"""How an attempt ends: the judge is content, the time is over, or control latched a fault."""

_ROUNDING = 1e-6
"""Ticks; so much may be missing where a time counts as a whole number of them."""


@dataclass(frozen=True)
class Conduct:
    """How attempts of one kind are made."""

    site: Site
    """Rates, limits, how chunks hand over, when they are relieved; its cameras and arms are not opened."""
    latency: float
    """From an observation to its chunk in the mailbox, s of simulated time; rounded up to ticks of control."""
    synchronous: bool
    """Look only when the arms stand still: the policy thinks while they wait, and no action passes meanwhile."""

    @property
    def ticks(self) -> int:
        """`latency` in ticks of control."""
        return ceil(self.latency * self.site.timing.control_rate - _ROUNDING)


@dataclass(frozen=True)
class Attempt:
    """What came of one."""

    ending: Ending
    seconds: float
    """From the order to run to the end, simulated; the arms coming to rest is not counted."""
    chunks: int
    """That the policy made."""
    fault: str | None
    """Why control latched."""


def attempt(
    cell: LockstepCell,
    conduct: Conduct,
    planner: Planner,
    *,
    succeeded: Callable[[], bool],
    limit: float,
    on_exposure: Callable[[], None] = lambda: None,
) -> Attempt:
    """Let a policy try until it succeeds, `limit` s have passed or control is at fault; then let the arms come to rest.

    The arms begin where they are, without power; as in a run they get it with the first chunk, approach its target
    slowly and follow. Nothing is put back at the end.

    Args:
        cell: the world; it goes on from its present time.
        conduct: how.
        planner: the policy; its inference takes no simulated time but `conduct.latency`.
        succeeded: the judge, asked at every exposure.
        limit: s of simulated time.
        on_exposure: called at every exposure, also while the arms come to rest.
    """
    with _board() as fd:
        loops = _Loops(cell, conduct, planner, fd, succeeded, limit, on_exposure)
        try:
            return loops.run()
        finally:
            loops.close()


@contextmanager
def _board() -> Iterator[int]:
    fd = Board.create()
    try:
        yield fd
    finally:
        os.close(fd)


class _Loops:
    """Control and policy on one cell, taking turns."""

    def __init__(
        self,
        cell: LockstepCell,
        conduct: Conduct,
        planner: Planner,
        board: int,
        succeeded: Callable[[], bool],
        limit: float,
        on_exposure: Callable[[], None],
    ) -> None:
        self._cell, self._conduct = cell, conduct
        self._succeeded, self._on_exposure = succeeded, on_exposure
        self._begin, self._limit = cell.now, limit
        self._ending: Ending | None = None
        # Both loops and the supervisor's part have a board of their own on the same memory, as three processes have.
        self._board = Board(board)
        self._board.order.give(Order.RUN)
        self._control = ControlLoop(
            # Nothing is parked here, and a scene's start pose may look like the other arm's park pose.
            _without_park(conduct.site),
            cell.arms,
            Board(board),
            policy_alive=lambda: True,
            supervisor_alive=lambda: True,
            stop_asked=lambda: self._ending is not None,
            clock=lambda: cell.now,
        )
        if conduct.synchronous:
            planner = _from_standstill(planner, conduct)
        self._policy = PolicyLoop(
            conduct.site, self._slowed(planner), cell.cameras, Board(board), clock=lambda: cell.now
        )
        self._chunks = 0

    def run(self) -> Attempt:
        """See `attempt`."""
        self._control.tick(self._cell.now)
        while self._ending is None:
            if self._cell.exposing and self._may_look():
                self._policy.step()
            self._go_on()
        seconds = self._cell.now - self._begin
        while self._tick():
            pass
        fault = self._control.machine.fault
        return Attempt(self._ending, seconds, self._chunks, fault.text if fault else None)

    def close(self) -> None:
        """Let go of both loops, which know this object: the memory that they map is freed now, not some day."""
        del self._control, self._policy, self._board

    def _may_look(self) -> bool:
        if not self._conduct.synchronous:
            return True
        status = self._board.status.latest()
        return status is not None and status.at_rest

    def _slowed(self, planner: Planner) -> Planner:
        """The same policy, but simulated time goes on while it thinks."""

        def plan(composite: NDArray[np.uint8], state: NDArray[np.float32]) -> Planned:
            return self._pass_time(planner.plan(composite, state))

        def guided(composite: NDArray[np.uint8], state: NDArray[np.float32], guidance: Guidance) -> Planned:
            if planner.guided is None:
                return plan(composite, state)
            return self._pass_time(planner.guided(composite, state, guidance))

        return replace(planner, plan=plan, guided=guided if planner.guided is not None else None)

    def _pass_time(self, chunk: Planned) -> Planned:
        self._chunks += 1
        for _ in range(self._conduct.ticks):
            self._go_on()
        return chunk

    def _go_on(self) -> None:
        """One tick, and what the judge says to it; none once the attempt has ended."""
        if self._ending is not None:
            return
        self._tick()
        if self._control.machine.state is State.FAULT:
            self._ending = "fault"
        elif self._cell.exposing and self._succeeded():
            self._ending = "success"
        elif self._cell.now - self._begin >= self._limit:
            self._ending = "time"

    def _tick(self) -> bool:
        self._cell.go_on()
        going = self._control.tick(self._cell.now)
        if self._cell.exposing:
            self._on_exposure()
        return going


def _without_park(site: Site) -> Site:
    return site.model_copy(update={"arms": tuple(arm.model_copy(update={"park": None}) for arm in site.arms)})


def _from_standstill(planner: Planner, conduct: Conduct) -> Planner:
    """The same policy, for arms that stand while it thinks: its first action is due when the chunk is there.

    The loops count actions from the observation. So the first one is repeated for as long as the inference takes; and
    the chunk is cut where the next look is due, so that control finds nothing to follow there, slows down and holds.
    """
    before = conduct.ticks / conduct.site.timing.control_rate

    def plan(composite: NDArray[np.uint8], state: NDArray[np.float32]) -> Planned:
        chunk = planner.plan(composite, state)
        waiting = ceil(before * chunk.rate_hz - _ROUNDING)
        played = chunk.actions[: conduct.site.timing.replan_after + 1]
        actions = np.concatenate([np.repeat(played[:1], waiting, axis=0), played])
        return Actions(actions, chunk.rate_hz, chunk.timings, chunk.inputs)

    return replace(planner, plan=plan, guided=None)
