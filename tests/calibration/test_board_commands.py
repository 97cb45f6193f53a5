"""`calibrate board` and `calibrate intrinsics --from`, as a person calls them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from gigaedge.calibration import load_calibration
from gigaedge.cli.calibrate import intrinsics
from gigaedge.files import sha256
from gigaedge_calibration.captures import Capture, load_captures, save_captures
from tests.calibration.rendered_board import BOARD, LENS, place_board, render, rendered_set
from tests.command_line import answer, fails, gigaedge, succeeds

EXAMPLE = Path(__file__).parents[2] / "examples" / "synthetic.yaml"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return Path(shutil.copy(EXAMPLE, tmp_path / "site.yaml"))


def test_a_board_is_drawn_and_measured(site: Path, tmp_path: Path) -> None:
    pdf, file = tmp_path / "board.pdf", tmp_path / "site.calibration.json"
    assert "9x7 squares of 27 mm on a4" in succeeds("calibrate", "board", site, "--out", pdf).stdout
    board = load_calibration(file).board
    assert board is not None
    assert (board.columns, board.rows, board.square, board.measured) == (9, 7, 0.027, None)
    fails(f"{pdf} exists already", "calibrate", "board", "--out", pdf)
    measured = answer("calibrate", "board", site, "--measured-mm", 243.9)
    assert measured["judgements"][0]["verdict"] == "warn"
    board = load_calibration(file).board
    assert board is not None
    assert board.measured == 0.2439
    assert board.square == pytest.approx(0.0271)
    assert board.marker == pytest.approx(0.02025 * 0.2439 / 0.243)
    strict = gigaedge("calibrate", "board", site, "--measured-mm", 242.0, "--strict")
    assert strict.returncode == 1
    assert "printed at another scale" in strict.stdout


def test_a_board_that_cannot_be_is_refused(site: Path, tmp_path: Path) -> None:
    fails("name the site file whose board was measured", "calibrate", "board")
    fails("no board is known for this site", "calibrate", "board", site, "--measured-mm", 243)
    fails("--squares '9by7': expected COLUMNSxROWS", "calibrate", "board", site, "--squares", "9by7")
    fails("an even number of rows", "calibrate", "board", site, "--squares", "9x6")
    fails("board: `columns`", "calibrate", "board", site, "--squares", "2x7")
    fails("do not fit on a4", "calibrate", "board", "--square-mm", 40, "--out", tmp_path / "b.pdf")
    fails("measured 216.0 mm", "calibrate", "board", site, "--square-mm", 27, "--measured-mm", 216)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site.yaml"]
    succeeds("calibrate", "board", site, "--squares", "9x6", "--legacy")


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captures") / "intrinsics"
    save_captures(folder, [Capture("cam_high", view.picture) for view in rendered_set()])
    return folder


def describe(site: Path) -> Path:
    succeeds("calibrate", "board", site, "--squares", "9x7", "--square-mm", 27, "--marker-mm", 20)
    return site.with_name("site.calibration.json")


def test_a_lens_is_solved_from_captures(site: Path, captures: Path) -> None:
    file = describe(site)
    said = answer("calibrate", "intrinsics", site, "--role", "cam_high", "--from", captures)
    assert {row["verdict"] for row in said["judgements"]} == {"pass"}
    assert abs(said["intrinsics"]["fx"] - LENS.fx) < 0.5
    calibration = load_calibration(file)
    camera = calibration.camera("cam_high")
    assert camera is not None
    assert camera.serial == "sim-cam_high"
    assert camera.factory is None
    assert camera.intrinsics is not None
    assert camera.intrinsics.model_dump(mode="json") == said["intrinsics"]
    (capture,) = calibration.captures
    assert (capture.purpose, capture.subject) == ("intrinsics", "cam_high")
    assert capture.sha256 == sha256(captures / "looks.json")
    assert (file.parent / capture.folder).resolve() == captures
    table = succeeds("calibrate", "intrinsics", site, "--role", "cam_high", "--from", captures).stdout
    assert "reprojection error" in table
    assert f"{file}: written" in table
    assert len(load_calibration(file).captures) == 1


def test_captures_that_do_not_determine_a_lens_are_refused(
    site: Path, captures: Path, tmp_path: Path
) -> None:
    fails(
        "no board; describe yours", "calibrate", "intrinsics", site, "--role", "cam_high", "--from", captures
    )
    file = describe(site)
    before = file.read_bytes()
    command = ("calibrate", "intrinsics", site, "--from")
    fails("no picture of cam_left_wrist", *command, captures, "--role", "cam_left_wrist")
    flat = [
        place_board(BOARD, 0.35, 0.03, i, 0.2 * i, (260 + 40 * (i % 3), 200 + 40 * (i % 2)), LENS)
        for i in range(7)
    ]
    folder = tmp_path / "flat"
    save_captures(folder, [Capture("cam_high", render(BOARD, place, samples=2)) for place in flat])
    fails("do not determine the focal length", *command, folder, "--role", "cam_high")
    legacy = BOARD.model_copy(update={"rows": 6, "legacy": True})
    picture = render(legacy, place_board(legacy, 0.45, 0.3, 1.0, 0.1, (320, 240), LENS), samples=2)
    folder = tmp_path / "legacy"
    save_captures(folder, [Capture("cam_high", picture)] * 7)
    fails(
        "view 0: 27 markers of the board and 0 corners: a legacy print",
        *command,
        folder,
        "--role",
        "cam_high",
    )
    small = [Capture("cam_high", np.ascontiguousarray(view.picture[::2, ::2])) for view in rendered_set()[:1]]
    save_captures(tmp_path / "small", small)
    fails(
        "view 0 has 320x240 px, and the site's cam_high 640x480",
        *command,
        tmp_path / "small",
        "--role",
        "cam_high",
    )
    assert file.read_bytes() == before


def test_a_lens_that_fails_is_not_written(site: Path, captures: Path) -> None:
    file = describe(site)
    calibration = json.loads(file.read_text())
    factory = {
        "source": "factory", "model": "pinhole", "width": 640, "height": 480,
        "fx": 700.0, "fy": 700.0, "cx": 320.0, "cy": 240.0,
    }  # fmt: skip
    stream = {"width": 640, "height": 480, "fps": 30}
    calibration["cameras"] = [{"role": "cam_high", "serial": "1", "stream": stream, "factory": factory}]
    file.write_text(json.dumps(calibration))
    before = file.read_bytes()
    done = gigaedge("calibrate", "intrinsics", site, "--role", "cam_high", "--from", captures)
    assert done.returncode == 1
    assert "FAIL: focal length against the factory's: the factory's lens is off" in done.stdout
    assert f"nothing was written; the pictures are in {captures}" in done.stdout
    assert file.read_bytes() == before


def test_live_views_that_give_no_lens_are_kept_aside(
    site: Path, captures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = describe(site)
    taken = [Capture("cam_high", view.picture) for view in rendered_set()]
    monkeypatch.setattr(intrinsics, "_capture", lambda *_: (taken, None))
    succeeds("calibrate", "intrinsics", site, "--role", "cam_high")
    folder = site.with_name("site.calibration.captures")
    kept, written = sha256(folder / "intrinsics-cam_high" / "looks.json"), file.read_bytes()
    place = place_board(BOARD, 0.45, 0.3, 1.0, 0.1, (320, 240), LENS)
    taken = [Capture("cam_high", render(BOARD, place, seed=seed)) for seed in range(6)]
    fails(
        f"the pictures are in {folder / 'intrinsics-cam_high-refused'}",
        "calibrate",
        "intrinsics",
        site,
        "--role",
        "cam_high",
    )
    assert len(load_captures(folder / "intrinsics-cam_high-refused")) == 6
    assert sha256(folder / "intrinsics-cam_high" / "looks.json") == kept
    assert file.read_bytes() == written
