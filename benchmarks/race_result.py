"""What a race found: times, ratios with their uncertainty, fidelity, and whether the gates hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from gigaedge.errors import InputError
from gigaedge.ledger import Errors
from race_contestants import NAMES, REFERENCE, Lap, Outcome

SCHEMA: Final = 1
RESAMPLES: Final = 2000
CONFIDENCE: Final = 0.95


class Part(BaseModel):
    """Of a report: what is written is what is read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FidelityResult(Part):
    """Largest differences from the fp32 eager's actions."""

    normalized: float
    """Of a normalised action value."""
    joint_degrees: float
    fingertip_millimetres: float


class ContestantResult(Part):
    """One contestant's race."""

    name: str
    load_s: float
    """From files to ready for the first chunk, without importing packages."""
    first_s: float
    """The first chunk; compiling is in it where something compiles."""
    rss_mib: float
    """Resident memory of its process after the first chunk."""
    transformer_ms: float
    """Median of a chunk without the VAE."""
    chunk_ms: float
    """Median of a whole chunk."""
    vae_ms: float
    """PyTorch: median; ONNX: the shortest time that the VAE's graph took alone."""
    cpu_ms: float
    """Median processor time of a whole chunk."""
    fidelity: FidelityResult
    transformer_laps_ms: tuple[float, ...]
    """One per round."""


class RatioResult(Part):
    """How many times faster `fast` is than `slow`: the ratio of their medians, without the VAE."""

    fast: str
    slow: str
    ratio: float
    low: float
    """Lower end of the bootstrap interval over rounds."""
    high: float
    whole_chunk: float
    """The same ratio with the VAE."""


class GateResult(Part):
    """A claim, and what was found."""

    generation: str
    claim: str
    ratio: float
    passed: bool


class GenerationResult(Part):
    """The race on one generation."""

    generation: str
    weights_m: float
    """Million weights of the transformer and VAE, as stored."""
    steps: int
    """Of the sampler."""
    contestants: tuple[ContestantResult, ...]
    ratios: tuple[RatioResult, ...]


class RaceReport(Part):
    """Everything, as `--json` writes it."""

    schema_version: Literal[1] = SCHEMA
    machine: str
    versions: dict[str, str]
    size: str
    threads: int
    rounds: int
    absent: dict[str, str]
    """Contestants that were asked for by `all` and could not start, with the reason."""
    generations: tuple[GenerationResult, ...]
    gates: tuple[GateResult, ...]


@dataclass(frozen=True)
class Gate:
    """`fast` has to be at least `least` times as fast as `slow`."""

    fast: str
    slow: str
    least: float
    generation: str | None = None
    """None: in every generation that is raced."""

    def __str__(self) -> str:
        """As `--require` takes it."""
        prefix = f"{self.generation}:" if self.generation else ""
        return f"{prefix}{self.fast}/{self.slow}>={self.least:g}"


def _claims(generation: str, fast: str, least: float, *slow: str) -> list[Gate]:
    return [Gate(fast, each, least, generation) for each in slow]


GATES: Final = (
    *_claims("GWP-0", "gigaedge-fp32", 3.5, "eager", "compile"),
    *_claims("GWP-0", "gigaedge-int8", 8.0, "eager", "compile"),
    *_claims("GWP-0.5", "gigaedge-fp32", 1.5, "eager", "compile"),
    *_claims("GWP-0.5", "gigaedge-int8", 3.0, "eager", "compile"),
    *_claims("GWP-0.5", "gigaedge-fp32", 1.0, "openvino"),
)
"""What gigaedge claims at size medium with two threads."""

_GATE = re.compile(r"(?:(GWP-0(?:\.5)?):)?([a-z0-9-]+)/([a-z0-9-]+)>=([0-9]+(?:\.[0-9]+)?)")


def parse_gate(text: str) -> Gate:
    """As in `gigaedge-int8/eager>=8` or `GWP-0:gigaedge-int8/eager>=8`. Raises InputError."""
    match = _GATE.fullmatch(text.replace(" ", ""))
    if not match:
        raise InputError(
            f"--require {text!r}: expected [GENERATION:]FAST/SLOW>=RATIO, as gigaedge-int8/eager>=8"
        )
    generation, fast, slow, least = match.groups()
    for name in (fast, slow):
        if name not in NAMES:
            raise InputError(f"--require {text!r}: {name!r} is none of {', '.join(NAMES)}")
    return Gate(fast, slow, float(least), generation)


def judge(gate: Gate, generation: str, times: dict[str, NDArray[np.float64]]) -> GateResult | None:
    """A gate on one generation's transformer laps, (rounds,) each; None where it does not apply.

    Raises InputError when it does and one of the two did not race.
    """
    if gate.generation not in (None, generation):
        return None
    for name in (gate.fast, gate.slow):
        if name not in times:
            raise InputError(f"gate {gate}: {name} does not race; add it to --contestants")
    found = float(np.median(times[gate.slow]) / np.median(times[gate.fast]))
    return GateResult(generation=generation, claim=str(gate), ratio=found, passed=found >= gate.least)


def ratio_of_medians(
    slow: NDArray[np.float64], fast: NDArray[np.float64], seed: int = 0
) -> tuple[float, float, float]:
    """median(slow) / median(fast) and its percentile bootstrap interval.

    Rounds are drawn with replacement, both contestants' laps together: a busy moment hits neighbours alike (Efron and
    Tibshirani, An Introduction to the Bootstrap, chapters 8 and 13).
    """
    if slow.shape != fast.shape or slow.ndim != 1 or not len(slow):
        raise ValueError(f"laps of shapes {slow.shape} and {fast.shape} are not of the same rounds")
    drawn = np.random.default_rng(seed).integers(0, len(slow), (RESAMPLES, len(slow)))
    ratios = np.median(slow[drawn], axis=1) / np.median(fast[drawn], axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(ratios, (tail, 1 - tail))
    return float(np.median(slow) / np.median(fast)), float(low), float(high)


def transformer_times(laps: Sequence[Lap], *, vae_inside: bool) -> NDArray[np.float64]:
    """Chunks without the VAE, s, (rounds,).

    Where the VAE is inside a larger graph, the shortest time that it ever took alone is taken off: alone its weights
    and pictures stay in the processor's caches, so that this is less than it really costs there.
    """
    chunk = np.array([lap.chunk for lap in laps], np.float64)
    vae = np.array([lap.vae for lap in laps], np.float64)
    without: NDArray[np.float64] = chunk - (vae.min() if vae_inside else vae)
    return without


def fidelity(outcome: Outcome, reference: Outcome) -> FidelityResult:
    """How far actions are from the reference's."""
    errors = Errors.between(outcome.targets, reference.targets)
    return FidelityResult(
        normalized=float(np.abs(outcome.normalized - reference.normalized).max()),
        joint_degrees=float(errors.joints.max()),
        fingertip_millimetres=float(errors.fingertips.max()),
    )


def ratios(
    names: Sequence[str], times: dict[str, NDArray[np.float64]], chunks: dict[str, NDArray[np.float64]]
) -> tuple[RatioResult, ...]:
    """Every contestant against the reference, and gigaedge's against every other's."""
    pairs = [(name, REFERENCE) for name in names if name != REFERENCE]
    pairs += [
        (ours, other)
        for ours in names
        for other in names
        if ours.startswith("gigaedge") and not other.startswith("gigaedge") and other != REFERENCE
    ]
    results = []
    for fast, slow in pairs:
        ratio, low, high = ratio_of_medians(times[slow], times[fast])
        whole = float(np.median(chunks[slow]) / np.median(chunks[fast]))
        results.append(RatioResult(fast=fast, slow=slow, ratio=ratio, low=low, high=high, whole_chunk=whole))
    return tuple(results)
