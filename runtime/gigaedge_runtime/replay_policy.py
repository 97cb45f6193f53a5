"""The chunks of a recorded run again: every observation through the bundle, and how far the actions are apart."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gigaedge.bundle import open_bundle
from gigaedge.errors import InputError
from gigaedge.robot import DIM_NAMES, ROBOT_DIM
from gigaedge_runtime.flight_reader import FlightRecord, Progress, RecordedObservation
from gigaedge_runtime.policy import Observation, Policy
from gigaedge_runtime.rtc import Guidance

GUIDANCE = tuple(Guidance.make_example(1).arrays())
"""Names of what a chunk may have been guided by."""

TOLERANCE = 1e-5
"""rad or m; threads and CPUs add float32 numbers in another order."""


@dataclass(frozen=True)
class ChunkReplay:
    """How recomputed chunks compare with the recorded ones."""

    chunks: int
    """Compared."""
    differing: int
    """Chunks that differ by more than `TOLERANCE`."""
    first: str | None
    """The first of them, in words."""
    worst: dict[str, float]
    """Largest difference by name of gigaedge.robot.DIM_NAMES, rad or m."""
    missing: int
    """Chunks in between that were not recorded."""
    same_bundle: bool
    """The bundle is the one that made them."""

    @property
    def equal(self) -> bool:
        """Nothing differs, and nothing is missing."""
        return self.first is None and self.missing == 0


def is_same_bundle(flight: FlightRecord, bundle: Path) -> bool:
    """Whether a bundle's graphs, weights and prompts are those that made a record's chunks.

    The manifest around them may have changed, as by `gigaedge compare --write`. Raises BundleError: no bundle.
    """
    if flight.manifest is None:
        return False
    manifest = open_bundle(bundle).manifest
    recorded = {info.sha256 for info in flight.manifest.files()}
    return {info.sha256 for info in manifest.files()} == recorded


def replay_chunks(flight: FlightRecord, bundle: Path, advance: Progress = lambda count: None) -> ChunkReplay:
    """Compute every recorded chunk again, sampled as the site says.

    Raises BundleError or DeviceError (the bundle cannot be used), InputError (a damaged or unknown record).
    """
    same = is_same_bundle(flight, bundle)
    inference = flight.site.inference
    policy = Policy.load(
        bundle,
        prompt=flight.site.prompt,
        steps=inference.steps,
        solver=inference.solver,
        provider=inference.provider,
        threads=inference.threads,
    )
    worst = np.zeros(ROBOT_DIM)
    chunks = differing = missing = last = 0
    first = None
    for recorded in flight.observations(advance):
        observation, guidance = _inputs(flight, recorded)
        actions = policy.chunk(observation, guidance=guidance).actions
        if actions.shape != recorded.actions.shape:
            raise InputError(
                f"{bundle}: makes chunks of {len(actions)} actions, the recorded ones have {len(recorded.actions)}"
            )
        difference = np.abs(actions.astype(np.float64) - recorded.actions)
        # Where both are NaN or the same infinity nothing differs; where one is, everything does.
        alike = (actions == recorded.actions) | (np.isnan(actions) & np.isnan(recorded.actions))
        difference = np.where(alike, 0.0, np.nan_to_num(difference, nan=np.inf))
        chunks += 1
        missing += recorded.id - last - 1
        last = recorded.id
        np.maximum(worst, difference.max(axis=0), out=worst)
        if difference.max() > TOLERANCE:
            differing += 1
            if first is None:
                row, column = np.unravel_index(int(difference.argmax()), difference.shape)
                first = (
                    f"chunk {recorded.id}: action {row} of {DIM_NAMES[column]} was "
                    f"{recorded.actions[row, column]!r}, recomputed it is {actions[row, column]!r}"
                )
    return ChunkReplay(
        chunks, differing, first, dict(zip(DIM_NAMES, worst.tolist(), strict=True)), missing, same
    )


def _inputs(flight: FlightRecord, recorded: RecordedObservation) -> tuple[Observation, Guidance | None]:
    arrays = dict(recorded.inputs)
    noise = arrays.pop("noise", None)
    guidance = {name: arrays.pop(name) for name in GUIDANCE if name in arrays}
    if arrays or len(guidance) not in (0, len(GUIDANCE)):
        unknown = ", ".join(sorted(arrays)) or f"{', '.join(guidance)} alone"
        raise InputError(
            f"{flight.path}: chunk {recorded.id} was computed from {unknown}, which this version "
            f"of gigaedge does not know; it was recorded by {flight.about['gigaedge']}"
        )
    observation = Observation(recorded.composite, recorded.state, noise)
    return observation, Guidance.of(guidance) if guidance else None
