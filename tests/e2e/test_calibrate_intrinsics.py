"""A person shows a board to a camera: from the device to the calibration file, through librealsense and the CLI."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from gigaedge.calibration import load_calibration
from gigaedge_calibration.captures import load_captures
from tests.command_line import gigaedge, succeeds

pytestmark = pytest.mark.realtime

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def site(tmp_path: Path, private_home: Path) -> Path:
    """The synthetic cell with the board in a person's hands."""
    world = yaml.safe_load((EXAMPLES / "synthetic-world.yaml").read_text())
    world["board"] = {
        "columns": 9, "rows": 7, "square": 0.027, "marker": 0.02, "dictionary": "DICT_5X5_100",
        "at": "hand", "shown_to": "cam_high",
    }  # fmt: skip
    (tmp_path / "synthetic-world.yaml").write_text(yaml.safe_dump(world))
    return Path(shutil.copy(EXAMPLES / "synthetic.yaml", tmp_path / "site.yaml"))


def test_a_lens_is_collected_solved_and_kept(site: Path) -> None:
    succeeds("calibrate", "board", site, "--squares", "9x7", "--square-mm", 27, "--marker-mm", 20)
    done = gigaedge("calibrate", "intrinsics", site, "--role", "cam_high", "--views", 8, "--timeout", 120)
    assert done.returncode == 0, done.stderr
    assert "view 8 of 8" in done.stderr
    camera = load_calibration(site.with_name("site.calibration.json")).camera("cam_high")
    assert camera is not None
    lens, factory = camera.intrinsics, camera.factory
    assert lens is not None
    assert lens.covariance is not None
    assert factory is not None
    truth = yaml.safe_load((EXAMPLES / "synthetic-world.yaml").read_text())["cameras"][0]
    sigma = np.sqrt(np.diag(lens.covariance))
    assert abs(lens.fx - truth["lens"]["fx"]) < 4 * sigma[0]
    assert abs(lens.cy - truth["lens"]["cy"]) < 4 * sigma[3]
    assert sigma[0] < 2.0
    assert factory.fx == pytest.approx(truth["factory"]["fx"], abs=0.01)
    kept = load_captures(site.with_name("site.calibration.captures") / "intrinsics-cam_high")
    assert [capture.role for capture in kept] == ["cam_high"] * 8
