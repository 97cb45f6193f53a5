"""What was measured on a bundle or a text encoder, as its document keeps it: fidelity, and the ledger."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gigaedge.documents import Part
from gigaedge.sampling import Solver


class FidelityRow(Part):
    """How far one stage of the bundle is from its reference."""

    stage: str
    max_abs: float
    relative_l2: float
    cosine: float
    joint_degrees: float | None = None
    """Worst joint error, where the stage is a chunk of actions."""
    fingertip_millimetres: float | None = None
    """Worst distance of a fingertip, likewise."""


class FidelityInfo(Part):
    """The comparison made when the bundle was written."""

    reference: str
    tolerance: float | None
    """Gate on the relative L2 of velocities (of every stage, at fp32); None where errors are only reported."""
    passed: bool
    stages: tuple[FidelityRow, ...]


class SpreadInfo(Part):
    """A distribution in three numbers."""

    p50: float = Field(ge=0)
    p95: float = Field(ge=0)
    worst: float = Field(ge=0)


class LatencyInfo(Part):
    """How long a chunk takes after warm-up, ms."""

    p50: float = Field(ge=0)
    p95: float = Field(ge=0)
    context_p50: float | None = Field(None, ge=0)
    """Picture to cache; None in layout single, where the stages are one run."""
    steps_p50: float | None = Field(None, ge=0)
    """All sampler steps, likewise."""


class LedgerRow(Part):
    """What one way of sampling costs, and how far its actions are from the reference's."""

    steps: int = Field(ge=1)
    solver: Solver
    joint_degrees: SpreadInfo
    """Over all chunks, actions and the 12 joints."""
    gripper_millimetres: SpreadInfo
    """Opening; over all chunks, actions and both grippers."""
    fingertip_millimetres: SpreadInfo
    """Distance between the points that two actions lead to; over all chunks, actions and both arms."""
    latency_milliseconds: LatencyInfo


class LedgerInfo(Part):
    """The bundle beside a reference on the same observations and noise: error in a person's units, and latency."""

    reference: str
    observations: int = Field(ge=1)
    chunks: int = Field(ge=1)
    """Compared per row: observations times noises."""
    machine: str
    """Where the latency was measured: processor, provider, ONNX Runtime."""
    gate_degrees: float | None = None
    """Largest p95 of `joint_degrees` that was asked for."""
    gate_millimetres: float | None = None
    """Largest p95 of `fingertip_millimetres` that was asked for."""
    rows: Annotated[tuple[LedgerRow, ...], Field(min_length=1)]
