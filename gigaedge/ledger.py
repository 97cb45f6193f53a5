"""How far a policy's actions are from a reference's, in joint degrees and fingertip millimetres."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.findings import LatencyInfo, LedgerInfo, LedgerRow, SpreadInfo
from gigaedge.kinematics import fingertips
from gigaedge.robot import DELTA_MASK, DIM_NAMES
from gigaedge.sampling import Solver

JOINT_NAMES: Final = tuple(name for name, joint in zip(DIM_NAMES, DELTA_MASK, strict=True) if joint)

_JOINTS: Final = np.array(DELTA_MASK)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Errors:
    """Absolute differences between chunks of actions and those of the reference."""

    joints: Array
    """Degrees, (chunks, actions, 12), ordered as `JOINT_NAMES`."""
    grippers: Array
    """Opening, mm, (chunks, actions, 2)."""
    fingertips: Array
    """Distance, mm, (chunks, actions, 2)."""

    @classmethod
    def between(cls, found: NDArray[Any], expected: NDArray[Any]) -> Errors:
        """The errors of finite chunks of absolute targets, rad and m, both (chunks, actions, 14)."""
        if found.shape != expected.shape:
            raise ValueError(f"chunks of shapes {found.shape} and {expected.shape} cannot be compared")
        a, b = found.astype(np.float64), expected.astype(np.float64)
        difference = np.abs(a - b)
        return cls(
            joints=np.degrees(difference[..., _JOINTS]),
            grippers=difference[..., ~_JOINTS] * 1e3,
            fingertips=np.linalg.norm(fingertips(a) - fingertips(b), axis=-1) * 1e3,
        )


@dataclass(frozen=True)
class Timings:
    """Measured chunks, s; one value per chunk in each list."""

    total: list[float]
    context: list[float]
    """Empty, as `steps`, in layout single."""
    steps: list[float]


@dataclass(frozen=True)
class Entry:
    """One way of getting a chunk - a bundle, a step count, a solver - with what it costs and what it loses."""

    bundle: str
    precision: str
    row: LedgerRow
    per_joint: dict[str, SpreadInfo]
    """Degrees, by `JOINT_NAMES`."""
    over_time: tuple[float, ...]
    """p95 of the fingertips' distance, mm, for each action of the chunk."""

    @property
    def name(self) -> str:
        """As in `bundle (fp32), 4 steps, euler`."""
        return describe(self.bundle, self.precision, self.row.steps, self.row.solver)

    def as_json(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "bundle": self.bundle,
            "precision": self.precision,
            **self.row.model_dump(),
            "per_joint_degrees": {name: spread.model_dump() for name, spread in self.per_joint.items()},
            "over_time_millimetres_p95": list(self.over_time),
        }


@dataclass(frozen=True)
class Comparison:
    """A ledger: every way of getting a chunk beside the reference."""

    reference: str
    """The `name` of the reference's entry, whether it is among `entries` or not."""
    observations: int
    chunks: int
    """Compared per entry: observations times noises."""
    machine: str
    rate_hz: float
    entries: tuple[Entry, ...]

    def info(self, bundle: str, gate_degrees: float | None, gate_millimetres: float | None) -> LedgerInfo:
        """The rows of one bundle, as its manifest records them."""
        return LedgerInfo(
            reference=self.reference,
            observations=self.observations,
            chunks=self.chunks,
            machine=self.machine,
            gate_degrees=gate_degrees,
            gate_millimetres=gate_millimetres,
            rows=tuple(each.row for each in self.entries if each.bundle == bundle),
        )


def describe(bundle: str, precision: str, steps: int, solver: str) -> str:
    """One way of getting a chunk, in words."""
    return f"{bundle} ({precision}), {steps} steps, {solver}"


def entry(bundle: str, precision: str, steps: int, solver: Solver, errors: Errors, timings: Timings) -> Entry:
    """Sum up what was measured."""
    total = _milliseconds(timings.total)
    return Entry(
        bundle=bundle,
        precision=precision,
        row=LedgerRow(
            steps=steps,
            solver=solver,
            joint_degrees=spread(errors.joints),
            gripper_millimetres=spread(errors.grippers),
            fingertip_millimetres=spread(errors.fingertips),
            latency_milliseconds=LatencyInfo(
                p50=total.p50,
                p95=total.p95,
                context_p50=_milliseconds(timings.context).p50 if timings.context else None,
                steps_p50=_milliseconds(timings.steps).p50 if timings.steps else None,
            ),
        ),
        per_joint={name: spread(errors.joints[..., i]) for i, name in enumerate(JOINT_NAMES)},
        over_time=tuple(np.percentile(errors.fingertips, 95, axis=(0, 2)).tolist()),
    )


def spread(samples: NDArray[Any]) -> SpreadInfo:
    """Median, 95th percentile and maximum of all values, at least one."""
    p50, p95 = np.percentile(samples, (50, 95))
    return SpreadInfo(p50=float(p50), p95=float(p95), worst=float(samples.max()))


def first_beyond(
    entries: Iterable[Entry], gate_degrees: float | None, gate_millimetres: float | None
) -> str | None:
    """What to say about the first entry whose p95 is beyond a gate; None when every gate holds."""
    for each in entries:
        for what, found, gate, unit in (
            ("joint", each.row.joint_degrees.p95, gate_degrees, "degrees"),
            ("fingertip", each.row.fingertip_millimetres.p95, gate_millimetres, "mm"),
        ):
            if gate is not None and found > gate:
                return f"{each.name}: the p95 {what} error of {found:.3g} {unit} is beyond the gate of {gate:g} {unit}"
    return None


def _milliseconds(seconds: Sequence[float]) -> SpreadInfo:
    return spread(np.array(seconds) * 1e3)
