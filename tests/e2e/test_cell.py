"""The physical cell behind the whole runtime: SDK, librealsense, three processes; in real time."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from tests.command_line import answer

pytestmark = pytest.mark.realtime

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.usefixtures("private_home")
def test_the_example_runs_and_is_filmed(exported: Callable[..., Path], tmp_path: Path) -> None:
    shutil.copy(EXAMPLES / "cell-world.yaml", tmp_path)
    site = tmp_path / "cell.yaml"
    text = (EXAMPLES / "cell.yaml").read_text()
    # A computer that tests something else beside it draws late.
    site.write_text(
        text.replace("bundle: trained", f"bundle: {exported('gwp05-tiny')}")
        .replace("max_image_age: 0.4", "max_image_age: 2.0")
        .replace("max_skew: 0.15", "max_skew: 1.0")
    )
    film = tmp_path / "run.mp4"
    report = answer("run", site, "--for", "2s", "--view", film)
    assert report["ended_by"] == "duration"
    assert report["chunks"] > 0
    physics = report["physics"]
    assert (physics["task"], physics["seed"]) == ("lift-block", 7)
    # Time passes in it from when its arms are there, before the run begins.
    assert physics["simulated"] + physics["skipped"] > 2.0
    assert sum(report["control"]["travel_measured"].values()) > 0.0
    assert {camera["role"] for camera in report["policy"]["cameras"]} == {
        "cam_high",
        "cam_left_wrist",
        "cam_right_wrist",
    }
    with av.open(str(film)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        pictures = [shown.to_ndarray(format="rgb24") for shown in container.decode(video=0)]
    assert pictures[0].shape == (512, 960, 3)
    assert len(pictures) > 20
    moved = np.abs(pictures[-1][:480].astype(int) - pictures[0][:480]).max(axis=-1)
    assert (moved > 60).mean() > 0.005
