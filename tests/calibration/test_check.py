"""`gigaedge calibrate views` and `check` as a person calls them, and the check before a run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import yaml

from gigaedge.calibration import load_calibration
from gigaedge.robot import CAMERA_ROLES
from gigaedge_calibration.captures import Capture, save_captures
from tests.calibration.view_references import STATE, pictures
from tests.calibration.view_scene import Scene, render
from tests.command_line import answer, fails, gigaedge, succeeds
from tests.lerobot_writer import DatasetWriter

GRIPPER = "220,300,420,480"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A cell that is never opened: its pictures come from folders."""
    path = tmp_path / "cell.yaml"
    data = {
        "bundle": "demo",
        "cameras": [{"role": role, "driver": "sim"} for role in CAMERA_ROLES],
        "arms": [{"side": side, "driver": "sim"} for side in ("left", "right")],
    }
    path.write_text(yaml.safe_dump(data))
    return path


def kept(folder: Path, images, state=STATE) -> Path:
    save_captures(folder, [Capture(role, image, tuple(state.tolist())) for role, image in images.items()])
    return folder


@pytest.fixture(scope="module")
def first_day():
    return pictures(Scene())


@pytest.fixture
def captured(site: Path, tmp_path: Path, first_day) -> Path:
    """The site, with references."""
    succeeds("calibrate", "views", site, "--capture", "--from", kept(tmp_path / "first", first_day))
    return site


def test_captured_views_pass_and_a_moved_camera_fails(captured: Path, tmp_path: Path, first_day) -> None:
    good = kept(tmp_path / "good", pictures())
    found = answer("calibrate", "check", captured, "--fast", "--from", good)
    assert found["verdict"] == "pass"
    assert found["notes"] == []
    assert {row["verdict"] for row in found["judgements"]} == {"pass"}
    assert set(found["views"]) == set(CAMERA_ROLES)
    assert abs(found["views"]["cam_high"]["shift"][0]) < 1
    moved = kept(
        tmp_path / "moved", {**first_day, "cam_high": render(Scene(move=(0, 3, 0, 0, 0, 0), seed=2))}
    )
    out = tmp_path / "seen.png"
    result = gigaedge("calibrate", "check", captured, "--from", moved, "--out", out)
    assert result.returncode == 1
    assert "view shift, horizontal" in result.stdout
    assert "FAIL: view shift, horizontal: the camera was moved or turned" in result.stdout
    assert cv2.imread(str(out)).shape[1] == 640
    one = gigaedge("calibrate", "views", captured, "--role", "cam_left_wrist", "--from", moved)
    assert one.returncode == 0
    assert "cam_high" not in one.stdout


def test_a_warning_is_good_enough_but_for_strict(captured: Path, tmp_path: Path, first_day) -> None:
    warns = kept(tmp_path / "warns", {**first_day, "cam_high": render(Scene(light=1.15, seed=2))})
    assert gigaedge("calibrate", "check", captured, "--from", warns).returncode == 0
    assert gigaedge("calibrate", "check", captured, "--from", warns, "--strict").returncode == 1


def test_what_is_stored(captured: Path, first_day) -> None:
    file = captured.with_suffix(".calibration.json")
    calibration = load_calibration(file)
    assert [camera.role for camera in calibration.cameras] == list(CAMERA_ROLES)
    high = calibration.camera("cam_high")
    assert high is not None
    assert high.view is not None
    assert high.light is not None
    assert high.view.joints == pytest.approx(STATE.tolist())
    assert high.view.source == "captured"
    assert high.light.luminance == pytest.approx(first_day["cam_high"].mean(), abs=0.5)
    folder = file.parent / calibration.captures[0].folder
    assert folder.name == "views-cam_high"
    picture = cv2.cvtColor(cv2.imread(str(folder / high.view.image)), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(picture, first_day["cam_high"])


def test_a_gripper_region_is_kept_until_another_is_given(captured: Path, tmp_path: Path, first_day) -> None:
    folder = tmp_path / "first"
    wrist = ("--role", "cam_left_wrist", "--from", folder)
    found = answer("calibrate", "views", captured, "--capture", *wrist, "--gripper", GRIPPER)
    assert found["references"]["cam_left_wrist"]["gripper"] == [220, 300, 420, 480]
    again = answer("calibrate", "views", captured, "--capture", *wrist)
    assert again["references"]["cam_left_wrist"]["gripper"] == [220, 300, 420, 480]
    rows = answer("calibrate", "check", captured, "--from", folder)["judgements"]
    assert ("cam_left_wrist", "gripper roll") in {(row["subject"], row["check"]) for row in rows}
    message = (
        "gripper region 600,300,700,480: expected left,top,right,bottom within the picture of 640x480 px"
    )
    fails(message, "calibrate", "views", captured, "--capture", *wrist, "--gripper", "600,300,700,480")


def test_an_average_and_an_arm_that_moved(site: Path, tmp_path: Path) -> None:
    noisy = [render(Scene(noise=8.0, seed=seed)) for seed in range(4)]
    captures = [Capture("cam_high", image, tuple(STATE.tolist())) for image in noisy]
    save_captures(tmp_path / "still", captures)
    succeeds("calibrate", "views", site, "--capture", "--role", "cam_high", "--from", tmp_path / "still")
    stored = cv2.imread(str(next(tmp_path.glob("*/views-cam_high/*.png"))))[..., ::-1].astype(float)
    truth = np.mean(noisy, axis=0)
    assert np.abs(stored - truth).max() <= 0.5
    moved = STATE.copy()
    moved[3] += 0.01
    save_captures(tmp_path / "moving", [captures[0], replace(captures[1], joints=tuple(moved.tolist()))])
    fails("an arm moved while pictures were taken", "calibrate", "views", site, "--capture",
          "--from", tmp_path / "moving")  # fmt: skip


def test_a_plain_picture_is_no_reference_and_nothing_is_kept(site: Path, tmp_path: Path, first_day) -> None:
    plain = np.full((480, 640, 3), 120, np.uint8)
    folder = kept(tmp_path / "plain", {**first_day, "cam_right_wrist": plain})
    message = "cam_right_wrist: too plain, dark or blurred to be a reference (0 features, 60 needed)"
    fails(message, "calibrate", "views", site, "--capture", "--from", folder)
    assert not site.with_suffix(".calibration.json").exists()
    assert not list(tmp_path.glob("*.captures"))


def test_a_picture_as_the_reference(site: Path, tmp_path: Path, first_day) -> None:
    picture = tmp_path / "view.png"
    cv2.imwrite(str(picture), first_day["cam_high"][..., ::-1])
    succeeds("calibrate", "views", site, "--reference", picture, "--role", "cam_high")
    view = load_calibration(site.with_suffix(".calibration.json")).camera("cam_high").view
    assert (view.source, view.joints) == (str(picture), None)
    good = kept(tmp_path / "good", {"cam_high": pictures()["cam_high"]})
    assert answer("calibrate", "views", site, "--from", good)["verdict"] == "pass"


def test_a_frame_of_a_dataset_as_the_reference(site: Path, tmp_path: Path, first_day) -> None:
    writer = DatasetWriter(tmp_path / "data", lengths=(3,)).write()
    for role, image in first_day.items():
        path = tmp_path / f"data/videos/observation.images.{role}/chunk-000/file-000.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=30, options={"crf": "18"})
            stream.width, stream.height, stream.pix_fmt = 640, 480, "yuv420p"
            for _ in range(3):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
    name = f"dataset:{tmp_path / 'data'}:0:2"
    succeeds("calibrate", "views", site, "--reference", name)
    view = load_calibration(site.with_suffix(".calibration.json")).camera("cam_left_wrist").view
    assert view.source == name
    assert view.joints == pytest.approx(writer.states[0][2].tolist())
    good = kept(tmp_path / "good", pictures(), np.array(view.joints))
    shifts = [view["shift"] for view in answer("calibrate", "views", site, "--from", good)["views"].values()]
    assert np.abs(shifts).max() < 1
    fails("episode 0 has frames 0 to 2; got 3", "calibrate", "views", site, "--reference", name[:-1] + "3")
    fails("has episodes 0 to 0; got 1", "calibrate", "views", site, "--reference", name[:-3] + "1:0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--capture", "--reference", "a.png"], "--capture and --reference: one reference at a time"),
        (["--capture", "--live"], "--live and --out compare; leave out --capture and --reference"),
        (
            ["--gripper", GRIPPER],
            "--gripper belongs to --capture or --reference with --role cam_left_wrist or",
        ),
        (["--capture", "--gripper", GRIPPER], "--gripper belongs to --capture or --reference with --role"),
        (["--live", "--json"], "--live shows a live cell to a person; leave out --json and --from"),
        (["--reference", "a.png"], "a picture shows one camera's view; say which with --role"),
        (
            ["--reference", "a.png", "--role", "cam_high"],
            "--reference a.png: expected a readable picture, or",
        ),
        (["--reference", "dataset:a:b"], "--reference dataset:a:b: expected dataset:PATH:EPISODE:FRAME, as"),
        (["--reference", "dataset:none:0:0"], "none"),
        ([], "no such calibration; make one with `gigaedge calibrate`"),
    ],
)
def test_what_makes_no_sense_is_said(site: Path, arguments: list[str], message: str) -> None:
    fails(message, "calibrate", "views", site, *arguments)


def test_a_region_is_four_numbers(site: Path) -> None:
    fails("--gripper '1,2,3': expected LEFT,TOP,RIGHT,BOTTOM in px", "calibrate", "views", site, "--capture",
          "--role", "cam_left_wrist", "--gripper", "1,2,3", "--from", site.parent)  # fmt: skip


def test_what_never_moves_is_looked_for_alone(site: Path, tmp_path: Path, first_day) -> None:
    first = kept(tmp_path / "first", first_day)
    high = ("calibrate", "views", site, "--capture", "--role", "cam_high", "--from", first)
    whole = answer(*high)["references"]["cam_high"]["features"]
    part = answer(*high, "--region", "100,0,540,240")["references"]["cam_high"]["features"]
    assert part < whole
    assert load_calibration(site.with_suffix(".calibration.json")).camera("cam_high").view.region == (
        100,
        0,
        540,
        240,
    )
    good = kept(tmp_path / "good", pictures())
    assert answer("calibrate", "check", site, "--from", good)["views"]["cam_high"]["inliers"] < part
    fails("region 600,0,700,240: expected left,top,right,bottom within", *high, "--region", "600,0,700,240")
    fails(
        "--region belongs to --capture or --reference with --role",
        "calibrate",
        "views",
        site,
        "--region",
        "1",
    )


def test_folders_and_files_that_do_not_fit(captured: Path, tmp_path: Path, first_day) -> None:
    empty = kept(tmp_path / "one", {"cam_high": first_day["cam_high"]})
    fails("has no picture of cam_left_wrist; name another folder", "calibrate", "views", captured, "--from",
          empty, "--role", "cam_left_wrist")  # fmt: skip
    folder = next(tmp_path.glob("*.captures")) / "views-cam_high"
    other = tmp_path / "other"
    save_captures(other, [Capture("cam_high", render(Scene(seed=8)), tuple(STATE.tolist()))])
    for file in other.iterdir():
        file.replace(folder / file.name)
    fails("holds another picture of cam_high than cell.calibration.json says; restore that folder, or run",
          "calibrate", "check", captured, "--from", empty)  # fmt: skip


def test_a_calibration_without_views(site: Path) -> None:
    from gigaedge.calibration import amend

    amend(site.with_suffix(".calibration.json"), lambda calibration: calibration)
    fails("has no reference pictures; take them with `gigaedge calibrate views SITE --capture`",
          "calibrate", "check", site)  # fmt: skip


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """A cell that is opened: simulated cameras and arms in a rendered world."""
    path = tmp_path / "cell.yaml"
    data = {
        "bundle": "demo",
        "simulation": "world.yaml",
        "cameras": [
            {"role": role, "driver": "sim", "width": 320, "height": 240, "fps": 10} for role in CAMERA_ROLES
        ],
        "arms": [{"side": side, "driver": "sim"} for side in ("left", "right")],
        "timing": {"max_feedback_age": 0.5},
    }
    path.write_text(yaml.safe_dump(data))
    write_world(tmp_path, [0.36, 0.0, 0.0])
    return path


def write_world(folder: Path, look_at: list[float]) -> None:
    mount = {"position": [-0.05, 0.0, 0.95], "look_at": look_at}
    (folder / "world.yaml").write_text(
        yaml.safe_dump({"schema": 1, "cameras": [{"role": "cam_high", "mount": mount}]})
    )


@pytest.mark.usefixtures("private_home")
def test_a_live_cell_from_capture_to_a_refused_run(live: Path, tmp_path: Path) -> None:
    from gigaedge.cli.calibrate.check import check_before_run
    from gigaedge.site import load_site

    succeeds("calibrate", "views", live, "--capture")
    file = live.with_suffix(".calibration.json")
    known = load_calibration(file).camera("cam_high")
    assert known.serial == "sim-cam_high"
    assert known.factory is not None
    assert check_before_run(load_site(live)) == []
    write_world(tmp_path, [0.41, 0.0, 0.0])
    result = gigaedge("run", live, "--for", "1s")
    assert result.returncode == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: cam_high: view shift, vertical")
    assert "the camera was turned; tilt it down 2." in line
    assert line.endswith("nothing was started (--skip-check goes on all the same)")
    watching = subprocess.Popen(
        [sys.executable, "-m", "gigaedge", "calibrate", "views", str(live), "--live", "--role", "cam_high"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    lines = [watching.stdout.readline() for _ in range(3)]
    watching.send_signal(signal.SIGINT)
    assert watching.wait(30) == 130
    watching.stdout.close()
    assert lines[0].startswith("cam_high  FAIL")
    assert "tilt it down 2." in lines[2]


def test_a_run_without_references_says_so_after_it(site: Path) -> None:
    from gigaedge.calibration import amend
    from gigaedge.cli.calibrate.check import check_before_run
    from gigaedge.site import load_site

    assert check_before_run(load_site(site)) == []  # simulated cameras see what they are told to
    document = yaml.safe_load(site.read_text(encoding="utf-8"))
    for number, camera in enumerate(document["cameras"]):
        camera.update(driver="realsense", serial=str(number))
    site.write_text(yaml.safe_dump(document), encoding="utf-8")
    began = time.process_time()
    (notice,) = check_before_run(load_site(site))
    assert time.process_time() - began < 0.5  # no camera was opened
    assert notice.startswith("no calibration: nobody checked what the cameras see")
    amend(site.with_suffix(".calibration.json"), lambda calibration: calibration)
    (notice,) = check_before_run(load_site(site))
    assert notice.startswith("the calibration has no reference pictures: nobody checked what the cameras see")


def test_json_has_numbers_and_words(captured: Path, tmp_path: Path) -> None:
    good = kept(tmp_path / "good", pictures())
    found = json.loads(succeeds("calibrate", "views", captured, "--from", good, "--json").stdout)
    row = next(row for row in found["judgements"] if row["check"] == "view shift, vertical")
    assert (row["unit"], row["warn_above"], row["fail_above"]) == ("composite px", 6, 12)
    view = found["views"]["cam_high"]
    assert set(view) == {"shift", "roll", "scale", "inliers", "gripper", "hint"}
    assert view["inliers"] > 100
