"""From a camera's exposure to the CAN frame: when each thing happened to a chunk, in two processes.

    policy process    exposed | transport | arrived | wait | begun | state | stated | compose | composed | inference |
                      inferred | publish | published
    control process   published | hand_over | tick | control | called | send | sent

The policy process notes its own moments; control writes its own into a `HandoverBlock`, once per chunk, in the tick
that first commands the chunk; the policy process puts both together. All are s on CLOCK_MONOTONIC.

- exposed: the stamp of the oldest picture with the calibrated latency of its camera (`capture.CameraSet.observe`). A
  RealSense stamps when it begins to read the sensor out: without a calibrated latency the exposure itself comes before.
- arrived: this program took that picture from the driver. The stage `state` begins with the checks of all pictures.
- sent: the SDK's `SendCanMessage` has returned for the first joint frame, 0x155, of the first arm: the kernel has put
  the frame into the interface's queue. The bus is not heard: piper_sdk opens it without loopback, so that SocketCAN
  echoes nothing. Not included are this queue, the USB adapter, arbitration, the 0.13 ms that a frame is on the wire at
  1 Mbit/s, and all that the arm does with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Final

import numpy as np

from gigaedge.benchmark import PATH_STAGES
from gigaedge_runtime.histogram import FineHistogram
from gigaedge_runtime.report import PathReport
from gigaedge_runtime.seqlock import Block

HOST_STAGES: Final = ("state", "compose", "publish")
"""What the host does for a chunk that is neither inference nor waiting."""

HANDOVER_LAYOUT = np.dtype(
    [("chunk", "<i8"), *((name, "<f8") for name in ("tick", "called", "sent", "last_sent", "powered"))]
)

_PENDING: Final = 4
"""Chunks that control may still take; it only ever takes the newest."""


@dataclass(frozen=True)
class Birth:
    """How a chunk came to be, in the policy process; s on CLOCK_MONOTONIC."""

    chunk: int
    """Its number."""
    exposed: float
    arrived: float
    begun: float
    stated: float
    composed: float
    inferred: float
    published: float
    inference: Mapping[str, float]
    """s, by the parts of the inference."""
    by_arrival: bool = False
    """`exposed` is only `arrived`: the picture had no stamp to believe."""

    def moments(self) -> tuple[float, ...]:
        """All, in order."""
        return (
            self.exposed,
            self.arrived,
            self.begun,
            self.stated,
            self.composed,
            self.inferred,
            self.published,
        )


@dataclass(frozen=True)
class Handover:
    """How a chunk first reached the arms, in the control process; s on CLOCK_MONOTONIC."""

    chunk: int
    tick: float
    """The tick began."""
    called: float
    """The SDK was called."""
    sent: float
    """The bus had taken the first frame."""
    last_sent: float
    """It had taken all of them, of both arms."""
    powered: float
    """The arms had got their power."""


class HandoverBlock(Block):
    """The newest chunk's way to the arms, control process to policy process; written once per chunk."""

    layout = HANDOVER_LAYOUT

    def publish(self, handover: Handover) -> None:
        """Replace the record."""
        record = self.record
        record["chunk"], record["tick"], record["called"] = handover.chunk, handover.tick, handover.called
        record["sent"], record["last_sent"] = handover.sent, handover.last_sent
        record["powered"] = handover.powered
        self.write()

    def newest(self) -> Handover | None:
        """The newest record, once; None when it was fetched before, or none can be read."""
        if not self.changed or not self.read():
            return None
        chunk, *moments = self.record[0].item()
        return Handover(chunk, *moments)


class Reaching:
    """Control's side: how each chunk that is followed first reaches the arms."""

    def __init__(self, block: HandoverBlock) -> None:
        self._block = block
        self.powered = 0.0
        """When the arms got their power, s on CLOCK_MONOTONIC."""
        self.pending = 0
        """A chunk that is followed and of which no bus has taken a frame yet; 0: none."""

    def followed(self, chunk: int) -> None:
        """A chunk is about to be commanded for the first time."""
        self.pending = chunk

    def left(self) -> None:
        """No chunk is followed."""
        self.pending = 0

    def sent(self, tick: float, called: float, sent_at: Sequence[float], now: float) -> None:
        """A tick that began at `tick` called the SDK from `called` to `now`; each arm's last frame went at `sent_at`.

        Says so to the policy process, unless no bus has taken the frame (then the next tick's counts). All in s.
        """
        sent = [moment for moment in sent_at if moment >= called]
        if sent:
            self._block.publish(Handover(self.pending, tick, called, min(sent), now, self.powered))
            self.pending = 0


class PathLog:
    """Puts a chunk's two halves together and counts the stages, in constant memory."""

    def __init__(self) -> None:
        self._pending: deque[Birth] = deque(maxlen=_PENDING)
        self._stages = {name: FineHistogram() for name in PATH_STAGES}
        self._inference: dict[str, FineHistogram] = {}
        self._whole, self._last_frame, self._host = FineHistogram(), FineHistogram(), FineHistogram()
        self._by_arrival = 0

    def born(self, birth: Birth) -> None:
        """A chunk was published."""
        self._pending.append(birth)

    def reached(self, handover: Handover | None) -> None:
        """A chunk reached the arms; None: no news."""
        if handover is None:
            return
        while self._pending and self._pending[0].chunk <= handover.chunk:
            birth = self._pending.popleft()
            # One that was there before the arms had power waited for that.
            if birth.chunk == handover.chunk and birth.published >= handover.powered:
                self._count(birth, handover)

    def report(self) -> PathReport | None:
        """Everything so far; None when no chunk reached the arms."""
        whole = self._whole.spread()
        if not whole.count:
            return None
        return PathReport(
            stages={name: histogram.spread() for name, histogram in self._stages.items()},
            inference={name: histogram.spread() for name, histogram in self._inference.items()},
            exposure_to_can=whole,
            exposure_to_last_frame=self._last_frame.spread(),
            host=self._host.spread(),
            by_arrival=self._by_arrival,
        )

    def _count(self, birth: Birth, handover: Handover) -> None:
        durations = stage_durations(birth, handover)
        for name, duration in durations.items():
            self._stages[name].add(duration)
        for name, duration in birth.inference.items():
            self._inference.setdefault(name, FineHistogram()).add(duration)
        whole = sum(durations.values())
        self._whole.add(whole)
        self._last_frame.add(whole + handover.last_sent - handover.sent)
        self._host.add(sum(durations[name] for name in HOST_STAGES))
        self._by_arrival += birth.by_arrival


def stage_durations(birth: Birth, handover: Handover) -> dict[str, float]:
    """Seconds by stage, in the order of `PATH_STAGES`, none below zero; their sum is from `exposed` to `sent`.

    Where a moment lies before the one that it follows, it counts as the same: a chunk that is published while a tick
    runs is taken by a tick that began before, and a camera's latency is known to some ms only.
    """
    moments = list(accumulate((*birth.moments(), handover.tick, handover.called, handover.sent), func=max))
    durations = (later - earlier for earlier, later in pairwise(moments))
    return dict(zip(PATH_STAGES, durations, strict=True))
