"""Trials whose numbers are chosen, not measured."""

from __future__ import annotations

from collections.abc import Sequence

from gigaedge.trials import AttemptInfo, EpisodeInfo, Outcome, RowInfo, SummaryInfo, TrialsReport, compared


def episode(seed: int, *outcomes: Outcome, seconds: float = 4.0) -> EpisodeInfo:
    """One attempt per outcome, each of `seconds`."""
    attempts = tuple(
        AttemptInfo(
            outcome=outcome,
            seconds=seconds,
            chunks=3,
            reason="the left arm is gone" if outcome == "fault" else None,
        )
        for outcome in outcomes
    )
    return EpisodeInfo(seed=seed, attempts=attempts)


def row(episodes: Sequence[EpisodeInfo], **fields: object) -> RowInfo:
    """A row of `lift-block` by the bundle fp32 at 10 steps, unless `fields` says otherwise."""
    known: dict[str, object] = {
        "task": "lift-block",
        "instruction": "lift the red block",
        "policy": "fp32",
        "precision": "fp32",
        "steps": 10,
        "solver": "euler",
        "mode": "rtc",
        "latency": 0.15,
        "episodes": tuple(episodes),
        "summary": SummaryInfo.of(episodes),
    }
    return RowInfo.model_validate(known | fields)


def report(rows: Sequence[RowInfo] | None = None, **fields: object) -> TrialsReport:
    """Three rows: one that succeeds mostly, one that does as well, one blind."""
    good = [episode(k, "success", seconds=3.0 + k / 10) for k in range(8)]
    mixed = [*good[:5], episode(5, "time", "success"), episode(6, *["time"] * 5), episode(7, "dropped")]
    blind = [episode(k, *["time"] * 4, "fault") for k in range(8)]
    given = rows or [row(good), row(mixed, policy="int8", precision="int8", steps=5), row(blind, blind=True)]
    known: dict[str, object] = {
        "schema": "gigaedge.trials/1",
        "gigaedge": "0.0",
        "created": "2026-01-02T03:04:05+00:00",
        "command": "gigaedge trials cell.yaml <here>",
        "machine": "a machine, 2 cores",
        "site": "cell.yaml",
        "judge": "simulation",
        "episodes": 8,
        "attempts": 5,
        "seed": 0,
        "rows": compared(given),
    }
    return TrialsReport.model_validate(known | fields)
