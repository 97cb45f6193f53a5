"""The topics of a flight record, and what their messages hold: JSON, with Foxglove's schemas where it has one.

Numbers are written so that they are read back exactly; a value that JSON has no number for is one of the strings
`NaN`, `Infinity` and `-Infinity`. Messages of one tick have the tick's number as their sequence, and come in the
order of `TICK_TOPICS`. Log times are epoch nanoseconds: CLOCK_MONOTONIC plus one offset that is taken at the start.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, Final

from gigaedge.robot import DIM_NAMES, DIM_UNITS

FORMAT: Final = "gigaedge-flight"
"""Name of the metadata record that marks a flight record, and the profile of the file."""
VERSION: Final = "1"
SUMMARY: Final = "gigaedge-summary"
"""Name of the metadata record at the end: how the recording went."""

JOINTS: Final = "/joints"
TARGETS: Final = "/targets"
SENT: Final = "/sent"
TICK: Final = "/tick"
CHUNK: Final = "/chunk"
OBSERVATION: Final = "/observation"
COMPOSITE: Final = "/composite"
TIMINGS: Final = "/timings"
EVENTS: Final = "/events"

TICK_TOPICS: Final = (JOINTS, TARGETS, SENT, TICK)
"""The first three only where there is something to tell; the last one always."""

_NUMBER: Final = {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
_TIME: Final = {
    "type": "object",
    "title": "time",
    "properties": {
        "sec": {"type": "integer", "minimum": 0},
        "nsec": {"type": "integer", "minimum": 0, "maximum": 999_999_999},
    },
}


def _object(description: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "description": description, "properties": properties}


def _said(kind: str | list[str], description: str) -> dict[str, Any]:
    return {"type": kind, "description": description}


def _by_joint(description: str) -> dict[str, Any]:
    units = {name: {**_NUMBER, "description": unit} for name, unit in zip(DIM_NAMES, DIM_UNITS, strict=True)}
    return _object(description, **units)


_READING: Final = _object(
    "What one arm said when it was read",
    stamp=_said("number", "arrival of the feedback, s on CLOCK_MONOTONIC"),
    enabled=_said("boolean", "all motors are powered"),
    fault=_said(["string", "null"], "the arm's own fault, in words"),
    code=_said("string", "what kind of fault that is, where there is one"),
    error=_said("string", "why it could not be read; then nothing else is here"),
)

SCHEMAS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    JOINTS: ("gigaedge.Joints", _by_joint("Measured joints and grippers of the arms that answered in this tick")),
    TARGETS: ("gigaedge.Targets", _by_joint("What the chunk asks for now, before the limits; while it moves the arms")),
    SENT: ("gigaedge.Sent", _by_joint("What the arms were told, after the limits; only arms that were told something")),
    TICK: (
        "gigaedge.Tick",
        _object(
            "One tick of control: with /joints and /sent all that it took in and gave out",
            now=_said("number", "when it began, s on CLOCK_MONOTONIC"),
            took=_said("number", "its work, s"),
            state=_said("string", "of the state machine, after this tick"),
            fault=_said("string", "code of the latched fault; none"),
            order=_said("integer", "of the supervisor: 0 wait, 1 run, 2 stop"),
            policy_alive=_said("boolean", "the policy process lives"),
            supervisor_alive=_said("boolean", "the supervisor lives"),
            stop_asked=_said("boolean", "a signal asked for an end"),
            chunk=_said("integer", "number of the newest chunk; 0 before the first"),
            taken=_said(["integer", "null"], "number of the chunk that was taken from the mailbox in this tick"),
            arms={"type": "object", "additionalProperties": {"type": "array", "items": _READING}},
            sends={"type": "object", "additionalProperties": {"type": "string"}},
            send_errors={"type": "object", "additionalProperties": {"type": "string"}},
        ),
    ),
    CHUNK: (
        "gigaedge.Chunk",
        _object(
            "A chunk as control took it",
            id=_said("integer", "its number"),
            observed=_said("number", "when its pictures were taken, s on CLOCK_MONOTONIC"),
            rate=_said("number", "actions per second"),
            count=_said("integer", "how many actions"),
            delay=_said("number", "expected from its pictures to its hand-over, s; 0: it continues no other"),
            actions={"type": "array", "items": {"type": "array", "items": _NUMBER}},
        ),
    ),
    OBSERVATION: (
        "gigaedge.Observation",
        _object(
            "What a chunk was computed from, exactly, and what came of it",
            id=_said("integer", "the chunk's number"),
            observed=_said("number", "exposure of the oldest picture, s on CLOCK_MONOTONIC"),
            rate=_said("number", "actions per second"),
            composite={"type": "string", "contentEncoding": "base64", "description": "PNG"},
            frames={"type": "object", "description": "number, captured and received of each camera's picture"},
            arrays={"type": "object", "description": "dtype, shape and base64 data, little-endian, C order"},
        ),
    ),
    COMPOSITE: (
        "foxglove.CompressedImage",
        _object(
            "The picture the policy saw, for people",
            timestamp=_TIME,
            frame_id={"type": "string"},
            data={"type": "string", "contentEncoding": "base64"},
            format={"type": "string"},
        ),
    ),
    TIMINGS: (
        "gigaedge.Timings",
        {"type": "object", "description": "s by stage of one chunk", "additionalProperties": {"type": "number"}},
    ),
    EVENTS: (
        "foxglove.Log",
        _object(
            "What happened, in words",
            timestamp=_TIME,
            level={"type": "integer"},
            message={"type": "string"},
            name={"type": "string"},
            file={"type": "string"},
            line={"type": "integer", "minimum": 0},
        ),
    ),
}  # fmt: skip
"""Name and JSON schema of each topic's messages."""


def write_number(value: float) -> float | str:
    """A float for JSON."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def by_joint(names: Iterable[str], values: Iterable[float]) -> dict[str, float | str]:
    """Values by joint name, for JSON."""
    return {name: write_number(value) for name, value in zip(names, values, strict=True)}


def encode(message: dict[str, Any]) -> bytes:
    """A message as it lies in the file."""
    return json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
