"""The file of a simulated world: what is said, what is left out, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gigaedge.errors import ConfigError
from gigaedge.robot import CAMERA_ROLES
from gigaedge.simulation import (
    PhysicalCell,
    Placement,
    SimulatedBoard,
    World,
    default_camera,
    load_cell,
    load_simulation,
)

EXAMPLE = Path(__file__).parents[2] / "examples" / "synthetic-world.yaml"


def written(folder: Path, text: str) -> Path:
    file = folder / "world.yaml"
    file.write_text(text)
    return file


def test_the_example_is_read_and_says_what_is_wrong_with_its_cell() -> None:
    world = load_simulation(EXAMPLE)
    high = world.camera("cam_high")
    assert high.latency == 0.028
    assert high.factory is not None
    assert high.factory.fx != high.lens.fx
    left = world.arm("left")
    assert left is not None
    assert left.zero_errors[1] == 0.3
    assert world.camera("cam_right_wrist").lens == default_camera("cam_right_wrist").lens


def test_an_empty_world_has_cameras_and_arms_and_no_board(tmp_path: Path) -> None:
    world = load_simulation(written(tmp_path, "schema: 1\n"))
    assert [world.camera(role) for role in CAMERA_ROLES] == [default_camera(role) for role in CAMERA_ROLES]
    assert [arm.side for arm in world.arms] == ["left", "right"]
    assert world.board is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "cameras: [{role: cam_high, latncy: 0.1}]",
            "unknown key `cameras.0.latncy`; did you mean `latency`?",
        ),
        ("cameras: [{role: cam_top}]", "`cameras.0.role`: Input should be 'cam_high'"),
        (
            "cameras: [{role: cam_high}, {role: cam_high}]",
            "cameras: expected each once, got cam_high, cam_high",
        ),
        ("cameras: [{role: cam_high, mount: {position: [0, 0, 1]}}]", "got none of them"),
        (
            "cameras: [{role: cam_high, mount: {position: [0, 0, 1], look_at: [0, 0, 0]}}]",
            "it is the direction of view; give another `up`",
        ),
        (
            "cameras: [{role: cam_high, lens: {fx: 1, fy: 1, cx: 0, cy: 0, distortion: [0.1]}}]",
            "distortion: expected 0, 4, 5 or 8 coefficients, got 1",
        ),
        ("board: {at: hand}", "`shown_to` belongs to a board at `hand`, and that needs it"),
        ("board: {marker: 0.05}", "marker 0.05 must be smaller than square 0.038"),
        ("board: {at: left}\narms: [{side: right}]", "board: there is no left arm to hold it"),
        ("[1, 2]", "expected a mapping with the keys seed, cameras, arms, board"),
        ("a: [", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, problem: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_simulation(file)
    assert str(caught.value).startswith(str(file))
    assert problem in str(caught.value)


def test_a_missing_file_points_to_the_example(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such simulation; see examples/synthetic-world\.yaml"):
        load_simulation(tmp_path / "none.yaml")


def test_a_physical_cell_names_its_task(tmp_path: Path) -> None:
    file = written(tmp_path, "schema: 1\nkind: physics\ntask: lift-block\nseed: 7\n")
    cell = load_cell(file)
    assert isinstance(cell, PhysicalCell)
    assert (cell.task, cell.seed) == ("lift-block", 7)
    with pytest.raises(ConfigError, match=r"a physical cell \(kind: physics\) has no world to be asked"):
        load_simulation(file)
    with pytest.raises(ConfigError, match="unknown key `sede`; did you mean `seed`"):
        load_cell(written(tmp_path, "kind: physics\nsede: 7\n"))
    with pytest.raises(ConfigError, match="`kind`: Input should be 'physics'"):
        load_cell(written(tmp_path, "kind: magic\n"))


def test_a_placement_looks_where_it_is_told_and_is_knocked_in_its_own_axes() -> None:
    place = Placement(position=(0.0, 0.0, 1.0), look_at=(1.0, 0.0, 1.0))
    ahead, right = place.transform[:3, 2], place.transform[:3, 0]
    np.testing.assert_allclose(ahead, [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(right, [0, -1, 0], atol=1e-12)
    knocked = place.model_copy(update={"turned": (0.0, 1.0, 0.0), "shifted": (0.01, 0.0, 0.0)}).transform
    np.testing.assert_allclose(
        knocked[:3, 2], [np.cos(np.radians(1)), -np.sin(np.radians(1)), 0], atol=1e-12, err_msg="to the right"
    )
    np.testing.assert_allclose(knocked[:3, 3], [0, -0.01, 1], atol=1e-12)


def test_a_board_is_placed_by_its_middle() -> None:
    board = SimulatedBoard(place=Placement(position=(0.5, 0.1, 0.0), facing=(0, 0, 1), up=(1, 0, 0)))
    middle = board.transform @ [board.columns * board.square / 2, board.rows * board.square / 2, 0, 1]
    np.testing.assert_allclose(middle[:3], [0.5, 0.1, 0.0], atol=1e-12)
    np.testing.assert_allclose(board.transform[:3, 2], [0, 0, -1], atol=1e-12, err_msg="the print faces up")


def test_a_lens_is_scaled_with_the_stream_and_refuses_another_shape() -> None:
    lens = default_camera("cam_high").lens
    half = lens.lens(320, 240)
    assert half.fx == lens.fx / 2
    # The left edge of the picture is at pixel -0.5 in both.
    assert (half.cx + 0.5) * 2 == pytest.approx(lens.cx + 0.5)
    with pytest.raises(ConfigError, match="a stream of 848x480 px has another shape"):
        lens.lens(848, 480)


def test_variations_leave_the_rest_as_it_is() -> None:
    world = World()
    darker = world.with_camera("cam_high", exposure=0.5).with_arm("left", x=0.1)
    assert darker.camera("cam_high").exposure == 0.5
    assert darker.camera("cam_high").lens == world.camera("cam_high").lens
    assert [arm.x for arm in darker.arms] == [0.1, 0.0]
    assert world.camera("cam_high").exposure == 1.0
