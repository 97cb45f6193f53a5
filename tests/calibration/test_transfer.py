"""Other tools' files, `validate` and `diff`, as a person calls them."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
import yaml

from gigaedge.calibration import Calibration, CaptureInfo, IntrinsicsInfo, amend, load_calibration
from gigaedge.documents import write_document
from gigaedge.errors import CalibrationError, InputError
from gigaedge.poses import inverse, rotation, rotation_vector
from gigaedge.site import CameraConfig
from gigaedge_calibration import kalibr_chain, opencv_file, ros_camera_info, urdf_mounts
from gigaedge_calibration.difference import compare
from gigaedge_calibration.lens_uncertainty import lens_of
from gigaedge_calibration.refit import four_coefficients
from tests.calibration.example_calibration import DISTORTION, example, intrinsics, transform
from tests.command_line import answer, fails, gigaedge, succeeds

RATIONAL = (*DISTORTION, 0.011, -0.0123456789012345, 1e-05)
OWN = intrinsics(612.123456789012345)
LENSES = {
    "five": OWN,
    "eight": intrinsics(612.0, model="rational", distortion=RATIONAL, covariance=None),
    "none": intrinsics(612.0, model="pinhole", distortion=(), covariance=None),
}
K_OF_612 = "K: [612, 0, 320, 0, 612, 240, 0, 0, 1]\n"
SITE = """
bundle: demo
cameras:
  - {role: cam_high, driver: realsense, serial: "132000000000"}
  - {role: cam_left_wrist, driver: realsense, serial: "132000000001"}
  - {role: cam_right_wrist, driver: realsense, serial: "132000000002"}
arms:
  - {side: left, driver: sim}
  - {side: right, driver: sim}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    file = tmp_path / "cell.yaml"
    file.write_text(SITE)
    write_document(tmp_path / "cell.calibration.json", example())
    return file


def numbers(lens: IntrinsicsInfo) -> tuple[float, ...]:
    return (lens.width, lens.height, lens.fx, lens.fy, lens.cx, lens.cy, *lens.distortion)


@pytest.mark.parametrize("name", LENSES)
def test_ros_gives_back_every_digit(tmp_path: Path, name: str) -> None:
    file = tmp_path / "camera.yaml"
    lens = LENSES[name]
    file.write_text(ros_camera_info.write(lens, "cam_high"))
    back = ros_camera_info.read(file)
    assert numbers(back) == numbers(lens)
    assert back.model == lens.model
    assert (back.source, back.covariance, back.rms) == ("imported", None, None)
    said = yaml.safe_load(file.read_text())
    assert said["distortion_model"] == ("rational_polynomial" if name == "eight" else "plumb_bob")
    assert said["camera_matrix"]["data"][2] == lens.cx
    assert said["projection_matrix"]["data"][6] == lens.cy
    assert len(said["projection_matrix"]["data"]) == 12


@pytest.mark.parametrize("name", LENSES)
def test_opencv_reads_what_is_written_and_gives_back_every_digit(tmp_path: Path, name: str) -> None:
    """Run under both majors."""
    file = tmp_path / "camera.yml"
    lens = LENSES[name]
    file.write_text(opencv_file.write(lens))
    storage = cv2.FileStorage(str(file), cv2.FILE_STORAGE_READ)
    np.testing.assert_array_equal(storage.getNode("camera_matrix").mat(), lens_of(lens).matrix)
    terms = storage.getNode("distortion_coefficients").mat()
    np.testing.assert_array_equal(terms, [list(lens.distortion) or [0.0] * 5])
    assert storage.getNode("image_width").real() == 640
    storage.release()
    assert numbers(opencv_file.read(file, None)) == numbers(lens)


@pytest.mark.parametrize("flat", [True, False])
def test_what_this_opencv_writes_is_read(tmp_path: Path, flat: bool) -> None:
    """A flat array is a matrix of 5x1 to OpenCV 4 and an nd-matrix to OpenCV 5."""
    file = tmp_path / "camera.yml"
    storage = cv2.FileStorage(str(file), cv2.FILE_STORAGE_WRITE)
    storage.write("cameraMatrix", lens_of(OWN).matrix)
    storage.write("distCoeffs", np.array(DISTORTION) if flat else np.array([DISTORTION]))
    storage.release()
    back = opencv_file.read(file, (640, 480))
    assert numbers(back) == pytest.approx(numbers(OWN), rel=1e-15)


def matrix(name: str, tag: str, sizes: str, data: str) -> str:
    return f"{name}: !!opencv-{tag}\n   {sizes}\n   dt: d\n   data: [ {data} ]\n"


CAMERA = matrix("K", "matrix", "rows: 3\n   cols: 3", "612., 0., 320., 0., 611.,\n       240., 0., 0., 1.")


@pytest.mark.parametrize(
    "text",
    [
        "%YAML 1.2\n---\n" + CAMERA
        + matrix("D", "nd-matrix", "sizes: [ 5 ]", "0.1, 0., 0., 0., 1.e-01") + "image_size: [ 640, 480 ]\n",
        "%YAML:1.0\n---\n" + CAMERA
        + matrix("D", "matrix", "rows: 5\n   cols: 1", "0.1, 0., 0., 0., 1.e-01")
        + matrix("image_size", "matrix", "rows: 1\n   cols: 2", "640, 480"),
    ],
)  # fmt: skip
def test_both_headers_and_kinds_of_matrix_are_read_without_opencv(tmp_path: Path, text: str) -> None:
    file = tmp_path / "camera.yml"
    file.write_text(text)
    assert numbers(opencv_file.read(file, None)) == (640, 480, 612, 611, 320, 240, 0.1, 0, 0, 0, 0.1)


def test_kalibr_has_four_coefficients_fitted_anew(tmp_path: Path) -> None:
    file = tmp_path / "camchain.yaml"
    text, worst = kalibr_chain.write(OWN, "cam_high")
    file.write_text(text)
    back = kalibr_chain.read(file)
    assert 0.05 < worst < 0.5
    assert back.distortion[4] == 0

    def apart(other: IntrinsicsInfo) -> float:
        corners = np.array([[x, y] for x in (0, 320, 639) for y in (0, 240, 479)])
        return float(
            np.max(np.linalg.norm(lens_of(other).project(lens_of(OWN).rays(corners)) - corners, axis=-1))
        )

    assert apart(back) <= worst + 1e-9
    assert (
        apart(OWN.model_copy(update={"distortion": (*DISTORTION[:4], 0.0)})) > 2
    )  # what leaving k3 out costs


def test_kalibr_says_four_coefficients_exactly(tmp_path: Path) -> None:
    lens = OWN.model_copy(update={"distortion": (*DISTORTION[:4], 0.0)})
    file = tmp_path / "camchain.yaml"
    text, worst = kalibr_chain.write(lens, "cam_high")
    file.write_text(text)
    assert worst == 0
    assert numbers(kalibr_chain.read(file)) == numbers(lens)


def test_a_refit_of_four_is_itself() -> None:
    lens = lens_of(OWN.model_copy(update={"distortion": (*DISTORTION[:4], 0.0)}))
    refit = four_coefficients(lens)
    assert refit.worst < 1e-9
    assert refit.lens.fx == pytest.approx(lens.fx)


def test_kalibr_refuses_a_lens_that_four_cannot_say(site: Path) -> None:
    out = site.parent / "camchain.yaml"
    fails(
        "cam_left_wrist: Kalibr's radtan has four coefficients, and the best four move a point by 1.",
        *("calibrate", "export", site, "--format", "kalibr", "--role", "cam_left_wrist", "--out", out),
    )  # fmt: skip
    assert not out.exists()


def test_mounts_as_urdf_are_where_they_are(site: Path) -> None:
    out = site.parent / "mounts.urdf"
    succeeds("calibrate", "export", site, "--format", "urdf", "--out", out)
    joints = ElementTree.parse(out).getroot().findall("joint")
    assert len(joints) == 4  # three cameras and the other arm
    for joint in joints:
        parent, child, origin = joint.find("parent"), joint.find("child"), joint.find("origin")
        assert parent is not None
        assert child is not None
        assert origin is not None
        name = child.attrib["link"].removesuffix("_optical_frame")
        camera = next((each for each in example().cameras if each.role == name), None)
        truth = example().bases if camera is None else camera.mount and camera.mount.transform
        assert truth is not None
        assert parent.attrib["link"] == truth.parent
        roll, pitch, yaw = map(float, origin.attrib["rpy"].split())
        turns = [rotation(np.array(axis)) for axis in ((0, 0, yaw), (0, pitch, 0), (roll, 0, 0))]
        np.testing.assert_allclose(turns[0] @ turns[1] @ turns[2], truth.matrix[:3, :3], atol=1e-12)
        assert tuple(map(float, origin.attrib["xyz"].split())) == truth.translation


@pytest.mark.parametrize("pitch", [np.pi / 2, -np.pi / 2])
def test_angles_of_a_camera_that_looks_straight_down(pitch: float) -> None:
    matrix = rotation(np.array([0, pitch, 0])) @ rotation(np.array([0.3, 0, 0]))
    roll, found, yaw = urdf_mounts.roll_pitch_yaw(matrix)
    turns = [rotation(np.array(axis)) for axis in ((0, 0, yaw), (0, found, 0), (roll, 0, 0))]
    np.testing.assert_allclose(turns[0] @ turns[1] @ turns[2], matrix, atol=1e-12)


def test_mrcal_gets_all_coefficients_and_the_direction_it_wants(site: Path) -> None:
    out = site.parent / "high.cameramodel"
    succeeds("calibrate", "export", site, "--format", "mrcal", "--role", "cam_high", "--out", out)
    said = ast.literal_eval(out.read_text())  # as mrcal reads it
    camera = example().camera("cam_high")
    assert camera is not None
    assert camera.intrinsics is not None
    assert camera.mount is not None
    assert said["lensmodel"] == "LENSMODEL_OPENCV5"
    assert tuple(said["intrinsics"]) == numbers(camera.intrinsics)[2:]
    assert said["imagersize"] == [640, 480]
    t_cam_base = inverse(camera.mount.transform.matrix)
    np.testing.assert_allclose(said["extrinsics"][:3], rotation_vector(t_cam_base[:3, :3]))
    np.testing.assert_allclose(said["extrinsics"][3:], t_cam_base[:3, 3])


def test_an_export_says_what_it_cannot_say_and_replaces_nothing_unasked(site: Path) -> None:
    out = site.parent / "high.yaml"
    call = ("calibrate", "export", site, "--format", "ros", "--role", "cam_high", "--out", out)
    done = succeeds(*call)
    assert "note: the file cannot say how uncertain its numbers are" in done.stderr
    fails("exists already; remove it, choose another --out, or pass --force", *call)
    succeeds(*call, "--force")
    fails("--format ros is of one camera; say which with --role", *call[:5], "--out", site.parent / "b.yaml")


def test_what_is_not_known_is_not_exported(site: Path) -> None:
    file = site.parent / "cell.calibration.json"
    bare = example().cameras[0].model_copy(update={"intrinsics": None, "factory": None, "mount": None})
    write_document(file, example().model_copy(update={"cameras": (bare,), "bases": None}))
    out = ("--out", site.parent / "f")
    for form, role, message in (
        ("ros", "cam_high", "cam_high has no lens yet; run `gigaedge calibrate intrinsics`, or import one"),
        ("ros", "cam_left_wrist", "nothing is known of cam_left_wrist; the calibration has cam_high"),
        ("urdf", "cam_high", "no mount of cam_high is known yet; run `gigaedge calibrate hand-eye`"),
    ):
        fails(message, "calibrate", "export", site, "--format", form, "--role", role, *out)
    file.unlink()
    message = f"has no calibration yet ({file}); make one with `gigaedge calibrate`"
    fails(message, "calibrate", "export", site, "--format", "ros", "--role", "cam_high", *out)


def test_an_imported_lens_has_no_uncertainty_and_replaces_a_measured_one_only_when_forced(site: Path) -> None:
    file = site.parent / "other.yaml"
    file.write_text(ros_camera_info.write(intrinsics(600.0), "other"))
    call = ("calibrate", "import", site, file, "--format", "ros", "--role", "cam_high")
    fails("cam_high has a lens that was measured here, with its uncertainty; pass --force", *call)
    done = succeeds(*call, "--force")
    assert "no uncertainty came with it" in done.stderr
    camera = load_calibration(site.parent / "cell.calibration.json").camera("cam_high")
    assert camera is not None
    assert camera.intrinsics is not None
    assert (camera.intrinsics.fx, camera.intrinsics.source, camera.intrinsics.covariance) == (
        600.0,
        "imported",
        None,
    )
    assert camera.mount == example().cameras[0].mount


def test_an_import_begins_a_calibration(site: Path) -> None:
    calibration = site.parent / "cell.calibration.json"
    calibration.unlink()
    file = site.parent / "camchain.yaml"
    file.write_text(
        kalibr_chain.write(OWN, "left")[0] + kalibr_chain.write(OWN, "right")[0].replace("cam0", "cam1")
    )
    call = ("calibrate", "import", site, file, "--format", "kalibr", "--role", "cam_left_wrist")
    fails("has the cameras cam0, cam1; say which with --entry", *call)
    fails("no camera cam2; it has cam0, cam1", *call, "--entry", "cam2")
    succeeds(*call, "--entry", "cam1")
    (camera,) = load_calibration(calibration).cameras
    assert (camera.role, camera.serial, camera.stream.width) == ("cam_left_wrist", "132000000001", 640)


@pytest.mark.parametrize(
    ("form", "text", "message"),
    [
        ("ros", "image_width: 640", "no key `distortion_model`; it has image_width"),
        ("ros", "distortion_model: equidistant", "distortion model 'equidistant' is not supported; calibrate with"),
        ("ros", "[1, 2]", "expected a mapping of keys, got list"),
        ("ros", "a: [", "not valid YAML"),
        ("ros", None, "no such file; name the camera file to import"),
        ("opencv", "<?xml version='1.0'?>", "FileStorage XML; save it with the ending .yml instead"),
        ("opencv", "%YAML:1.0\n---\na: 1", "no camera matrix (camera_matrix, cameraMatrix"),
        ("opencv", K_OF_612 + "D: [0.1, 0, .nan, 0]", "`distortion` has numbers that are not finite"),
        ("opencv", "K: [612, 0, 320]\nD: [0.1]", "`camera matrix` has 3 numbers; expected 9"),
        ("opencv", "K: [a, b]\nD: [0.1]", "`camera matrix` is not a list of numbers"),
        ("opencv", K_OF_612 + "D: [0,0,0,0,0,0,0,0,0.1,0,0,0]", "thin prism or tilt coefficients"),
        ("opencv", K_OF_612.replace("320", "640") + "D: []", "cx 640 px is far from the middle of"),
        ("kalibr", "cam0: {camera_model: omni, intrinsics: [1]}", "cam0 is omni with none; only pinhole with"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_lens_is_refused_in_one_line(
    site: Path, form: str, text: str | None, message: str
) -> None:
    file = site.parent / "foreign.yaml"
    if text is not None:
        file.write_text(text)
    before = (site.parent / "cell.calibration.json").read_bytes()
    fails(message, "calibrate", "import", site, file, "--format", form, "--role", "cam_high", "--force")
    assert (site.parent / "cell.calibration.json").read_bytes() == before


def test_a_lens_of_another_size_is_refused(site: Path) -> None:
    file = site.parent / "large.yaml"
    large = intrinsics(918.0, width=1280, height=720, cx=640.0, cy=360.0)
    file.write_text(ros_camera_info.write(large, "large"))
    fails(
        "intrinsics of cam_high are of 1280x720 px and its stream is of 640x480: calibrate that stream",
        *("calibrate", "import", site, file, "--format", "ros", "--role", "cam_high", "--force"),
    )  # fmt: skip


def test_the_factorys_lens_comes_from_the_camera(private_home: Path, site: Path) -> None:
    from gigaedge_runtime.devices.sim_realsense import SimulatedRealSense

    fails("132000000000: no such camera is connected", "calibrate", "import", site, "--format",
          "realsense", "--role", "cam_high", code=3)  # fmt: skip
    config = CameraConfig(role="cam_high", driver="sim", serial="132000000000")
    with SimulatedRealSense([config]):
        succeeds("calibrate", "import", site, "--format", "realsense", "--role", "cam_high")
        large = site.with_name("large.yaml")
        large.write_text(SITE.replace("realsense,", "realsense, width: 848,"))
        fails("cam_high: camera 132000000000 has no colour stream of 848x480", "calibrate", "import", large, "--format",
              "realsense", "--role", "cam_high", code=3)  # fmt: skip
    camera = load_calibration(site.parent / "cell.calibration.json").camera("cam_high")
    assert camera is not None
    assert camera.factory is not None
    assert (camera.factory.fx, camera.factory.source) == (608.0, "factory")
    assert camera.intrinsics == example().cameras[0].intrinsics


def test_a_simulated_camera_says_its_lens_too(private_home: Path, site: Path) -> None:
    simulated = SITE.replace("driver: realsense", "driver: sim")
    site.write_text(simulated.replace("driver: sim", "driver: video, file: a.mp4", 1))
    call = ("calibrate", "import", site, "--format", "realsense", "--role")
    fails("cam_high: plays a file; --format realsense needs a camera", *call, "cam_high")
    succeeds(*call, "cam_left_wrist")
    camera = load_calibration(site.parent / "cell.calibration.json").camera("cam_left_wrist")
    assert camera is not None
    assert camera.factory is not None
    assert camera.factory.fx == 608.0


def test_validate_follows_the_chain(site: Path) -> None:
    file = site.parent / "cell.calibration.json"
    for rate in (15, 60):
        stream = example().cameras[0].stream.model_copy(update={"fps": rate})
        camera = example().cameras[0].model_copy(update={"stream": stream})
        amend(file, lambda old, camera=camera: old.model_copy(update={"cameras": (camera,)}))  # type: ignore[misc]
    said = answer("calibrate", "validate", site)
    assert said["problems"] == []
    assert said["chain"][0]["file"] == file.name
    assert len(said["chain"]) == 3
    assert "valid" in succeeds("calibrate", "validate", file).stdout
    oldest = site.parent / said["chain"][2]["file"]
    oldest.unlink()
    fails(f"{oldest.name} is missing", "calibrate", "validate", site, code=1)


def test_validate_looks_at_captures_when_asked(site: Path) -> None:
    info = CaptureInfo(purpose="time", subject="cam_high", folder="gone", sha256="0" * 64)
    amend(site.parent / "cell.calibration.json", lambda old: old.model_copy(update={"captures": (info,)}))
    succeeds("calibrate", "validate", site)
    fails("time cam_high: ", "calibrate", "validate", site, "--captures", code=1)


def _move(by: tuple[float, ...]) -> Callable[[Calibration], Calibration]:
    def change(old: Calibration) -> Calibration:
        camera = old.cameras[1]
        assert camera.mount is not None
        moved = transform("left_link6", camera.role, by, 0.015, 0.0001)
        mount = camera.mount.model_copy(update={"transform": moved})
        return old.model_copy(
            update={
                "cameras": (
                    old.cameras[0],
                    camera.model_copy(update={"mount": mount}),
                    old.cameras[2],
                )
            }
        )

    return change


def test_nothing_differs_from_itself(site: Path) -> None:
    assert compare(example(), example()) == []
    assert answer("calibrate", "diff", site, site) == {"same": True, "changes": []}


def test_a_moved_mount_differs_in_degrees_and_mm(site: Path) -> None:
    other = site.parent / "other.json"
    write_document(other, _move((0.1, -0.3, 1.5, -0.07, 0.013, 0.034))(example()))
    done = gigaedge("calibrate", "diff", site, other, "--json")
    assert done.returncode == 1
    (change,) = json.loads(done.stdout)["changes"]
    assert (change["subject"], change["what"], change["unit"]) == ("cam_left_wrist", "mount, shifted", "mm")
    assert change["amount"] == pytest.approx(5.0)
    assert change["sigmas"] == pytest.approx(5.0 / (0.1 * np.sqrt(2)))
    assert "5 mm" in gigaedge("calibrate", "diff", site, other).stdout


def test_what_chance_explains_is_the_same(site: Path) -> None:
    other = site.parent / "other.json"
    write_document(other, _move((0.1001, -0.3, 1.5, -0.07, 0.01, 0.0301))(example()))
    said = answer("calibrate", "diff", site, other)
    assert said["same"]
    assert [change["what"] for change in said["changes"]] == ["mount, turned", "mount, shifted"]
    assert all(0 < change["sigmas"] < 1 for change in said["changes"])


def test_a_lens_differs_by_pixels_at_the_corners() -> None:
    def with_lens(lens: IntrinsicsInfo) -> Calibration:
        camera = example().cameras[0].model_copy(update={"intrinsics": lens})
        return example().model_copy(update={"cameras": (camera,)})

    before = intrinsics(612.0, model="pinhole", distortion=(), covariance=None)
    after = before.model_copy(update={"fx": 612.0 * 1.01, "fy": 612.5 * 1.01})
    focal, corner = compare(with_lens(before), with_lens(after))
    assert (focal.amount, focal.unit, focal.sigmas, focal.differs) == (pytest.approx(1.0), "%", None, True)
    # 1 % of the distance to the farthest corner from the principal point
    assert corner.amount == pytest.approx(0.01 * np.hypot(321.5, 239.75), rel=1e-3)

    sure = np.diag(np.square([0.3, 0.3, 0.2, 0.2]))
    known = before.model_copy(update={"covariance": tuple(map(tuple, sure.tolist()))})
    near = known.model_copy(update={"fx": 612.2, "fy": 612.7})
    changes = compare(with_lens(known), with_lens(near))
    assert [change.differs for change in changes] == [False, False]
    expected = 0.2 / (0.3 / np.sqrt(2) * np.sqrt(2))
    assert changes[0].sigmas == pytest.approx(expected, rel=1e-3)
    assert compare(with_lens(known), with_lens(known.model_copy(update={"fx": 615.0})))[0].differs


def test_chance_is_chance() -> None:
    """Of two honest measurements of one thing, 0.3 % differ; 20000 draws, so 60 +- 8."""
    from gigaedge_calibration.difference import CHANCE

    random = np.random.default_rng(7)
    for size, limit in CHANCE.items():
        distances = np.linalg.norm(random.standard_normal((20000, size)), axis=-1)
        assert 30 < np.count_nonzero(distances > limit) < 90


def test_other_changes_are_named() -> None:
    camera = example().cameras[0]
    latency = camera.latency
    assert latency is not None
    assert camera.light is not None
    assert camera.mount is not None
    update = {
        "serial": "9",
        "light": camera.light.model_copy(update={"exposure": 0.004}),
        "latency": latency.model_copy(update={"seconds": latency.seconds + 0.02}),
        "mount": camera.mount.model_copy(update={"zero_offsets": (0, 0.036, 0, 0, 0, 0)}),
        "view": None,
        "factory": None,
    }
    after = example().model_copy(
        update={
            "cameras": (camera.model_copy(update=update), *example().cameras[2:]),
            "bases": None,
            "board": None,
        }
    )
    said = {
        f"{change.subject} {change.what}": (change.before, change.after, change.unit)
        for change in compare(example(), after)
        if change.differs
    }
    assert said["cam_high serial"] == ("132000000000", "9", "")
    assert said["cam_high exposure"] == ("8 ms", "4 ms", "")
    assert said["cam_high latency"] == ("", "", "ms")
    assert said["cam_high zero of joint 2"] == ("", "", "degrees")
    assert said["cam_high reference view"] == ("000000000000", "none", "")
    assert said["cam_high factory lens"] == ("there", "none", "")
    assert said["cam_left_wrist camera"] == ("there", "none", "")
    assert said["arms right base in left base"] == ("there", "none", "")
    board = "9x7, square 27 mm (measured), marker 20 mm, DICT_5X5_100"
    assert said["board description"] == (board, "none", "")


def test_import_wants_a_file_or_a_camera(site: Path) -> None:
    call = ("calibrate", "import", site, "--role", "cam_high", "--format")
    fails("--format ros needs the file to import", *call, "ros")
    fails("realsense reads the connected camera: leave the file out", *call, "realsense", "x")
    with pytest.raises((CalibrationError, InputError)):
        ros_camera_info.read(site.parent / "absent")
