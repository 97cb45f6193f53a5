"""Errors of a known size come out in the units they went in."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge.ledger import JOINT_NAMES, Comparison, Entry, Errors, Timings, entry, first_beyond
from gigaedge.ledger_page import HEADER, render, rows
from gigaedge.robot import DIM_NAMES

TIMINGS = Timings(total=[0.010, 0.030, 0.020], context=[0.004, 0.006, 0.005], steps=[0.006, 0.024, 0.015])


def chunks(**offsets: float) -> NDArray[np.float32]:
    """Two chunks of 48 actions at the zero pose, with offsets by the name of a value, rad and m."""
    actions = np.zeros((2, 48, 14), np.float32)
    for name, offset in offsets.items():
        actions[..., DIM_NAMES.index(name)] = offset
    return actions


def measured(bundle: str, steps: int, found: NDArray[np.float32], precision: str = "fp32") -> Entry:
    return entry(bundle, precision, steps, "euler", Errors.between(found, chunks()), TIMINGS)


def test_a_degree_at_the_shoulder_is_its_arc_at_the_fingertip() -> None:
    """At the zero pose the fingertip is 191.411 mm from joint 1's axis."""
    errors = Errors.between(chunks(right_joint_1=np.radians(1)), chunks())
    expected = np.zeros(12)
    expected[JOINT_NAMES.index("right_joint_1")] = 1
    np.testing.assert_allclose(errors.joints, np.broadcast_to(expected, (2, 48, 12)), atol=1e-6)
    chord = 2 * 191.411 * np.sin(np.radians(0.5))
    np.testing.assert_allclose(errors.fingertips[..., 1], chord, atol=1e-3)
    np.testing.assert_array_equal(errors.fingertips[..., 0], 0)
    np.testing.assert_array_equal(errors.grippers, 0)


def test_the_last_joint_costs_degrees_and_a_gripper_millimetres_of_opening() -> None:
    errors = Errors.between(chunks(left_joint_6=-0.1, left_gripper=0.003), chunks())
    np.testing.assert_allclose(errors.joints.max(axis=-1), np.degrees(0.1), atol=1e-5)
    np.testing.assert_allclose(errors.grippers, np.broadcast_to([3.0, 0.0], (2, 48, 2)), atol=1e-5)
    np.testing.assert_allclose(errors.fingertips, 0, atol=1e-9)


def test_chunks_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 48, 14\) and \(1, 48, 14\)"):
        Errors.between(chunks(), chunks()[:1])


def test_an_entry_sums_up_over_the_right_axes() -> None:
    found = chunks()
    # One joint of 12 in one action of 48 of one chunk of two: far beyond the 95th percentile of all values.
    found[1, 7, DIM_NAMES.index("left_joint_2")] = np.radians(2)
    summed = measured("b", 4, found)
    assert summed.row.joint_degrees.p95 == 0
    assert summed.row.joint_degrees.worst == pytest.approx(2, abs=1e-5)
    assert summed.per_joint["left_joint_2"].worst == pytest.approx(2, abs=1e-5)
    assert summed.per_joint["left_joint_3"].worst == 0
    assert [k for k, error in enumerate(summed.over_time) if error > 0] == [7]
    assert len(summed.over_time) == 48
    latency = summed.row.latency_milliseconds
    assert (latency.p50, latency.context_p50, latency.steps_p50) == pytest.approx((20, 5, 15))
    assert latency.p95 == pytest.approx(29)


def test_percentiles_are_of_all_values() -> None:
    found = chunks()
    found[..., DIM_NAMES.index("left_gripper")] = np.linspace(0, 0.01, 96).reshape(2, 48)
    spread = measured("b", 4, found).row.gripper_millimetres
    # The other gripper is right: of all values, half are zero.
    assert spread.p50 == pytest.approx(0, abs=1e-4)
    assert spread.p95 == pytest.approx(9, abs=0.06)
    assert spread.worst == pytest.approx(10, abs=1e-5)


def test_gates_are_of_the_p95_and_inclusive() -> None:
    near, far = (
        measured("near", 10, chunks()),
        measured("far", 4, chunks(left_joint_1=0.01, right_joint_1=0.02)),
    )
    degrees, millimetres = far.row.joint_degrees.p95, far.row.fingertip_millimetres.p95
    assert degrees == pytest.approx(np.degrees(0.02), abs=1e-5)
    assert millimetres == pytest.approx(2 * 191.411 * np.sin(0.01), abs=1e-2)
    assert first_beyond([near, far], None, None) is None
    assert first_beyond([near, far], degrees, millimetres) is None
    assert first_beyond([near, far], degrees * 0.999, None) == (
        "far (fp32), 4 steps, euler: the p95 joint error of 1.15 degrees is beyond the gate of 1.14477 degrees"
    )
    assert "p95 fingertip error of 3.83 mm" in str(first_beyond([near, far], None, millimetres * 0.999))
    assert str(first_beyond([far, near], 0.0, None)).startswith("far")


def comparison(*entries: Entry) -> Comparison:
    return Comparison("a (fp32), 10 steps, euler", 2, 6, "a computer", 30.0, entries)


def test_a_manifest_gets_the_rows_of_its_own_bundle() -> None:
    ledger = comparison(measured("a", 10, chunks()), measured("b", 10, chunks()), measured("b", 4, chunks()))
    info = ledger.info("b", gate_degrees=1.0, gate_millimetres=None)
    assert [row.steps for row in info.rows] == [10, 4]
    assert (info.reference, info.observations, info.chunks) == (ledger.reference, 2, 6)
    assert (info.gate_degrees, info.gate_millimetres) == (1.0, None)


def test_json_is_plain_and_complete() -> None:
    data = json.loads(json.dumps(measured("b", 4, chunks(left_joint_1=0.01), "int8").as_json()))
    assert (data["bundle"], data["precision"], data["steps"], data["solver"]) == ("b", "int8", 4, "euler")
    assert data["per_joint_degrees"]["left_joint_1"]["worst"] == pytest.approx(np.degrees(0.01), abs=1e-5)
    assert len(data["over_time_millimetres_p95"]) == 48


class Reader(HTMLParser):
    """The text of a page, and how often each element begins."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def test_the_page_has_every_row_and_three_plots() -> None:
    entries = [
        measured("a", 10, chunks()),
        measured("a", 4, chunks(left_joint_1=0.01)),
        measured("b", 10, chunks(left_joint_1=0.001), "int8"),
    ]
    page = Reader(render(comparison(*entries)))
    assert page.tags.count("svg") == 3
    for text in (*HEADER, "int8", "4 euler", "a computer", "0.573/0.573", "left 1"):
        assert text in page.text
    table = rows(comparison(*entries))
    assert [row[:4] for row in table] == [
        ["a", "fp32", "10 euler", "reference"],
        ["a", "fp32", "4 euler", "0.000/0.573/0.573"],
        ["b", "int8", "10 euler", "0.000/0.057/0.057"],
    ]
    assert table[1][4] == "0.957/1.91/1.91"
    assert table[1][-2:] == ["20.0/29.0", "5.0+15.0"]


@pytest.mark.parametrize(("steps", "plots"), [((10,), 0), ((10, 4), 3)])
def test_a_page_without_any_error(steps: tuple[int, ...], plots: int) -> None:
    """Only the reference, or others that are exactly as good: no logarithm of zero."""
    html = render(comparison(*(measured("a", count, chunks()) for count in steps)))
    assert Reader(html).tags.count("svg") == plots
