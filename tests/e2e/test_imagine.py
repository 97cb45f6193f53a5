"""`imagine` as a person calls it, on a real bundle, a real dataset and real videos."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gigaedge.compose import Compositor
from gigaedge.robot import CAMERA_ROLES
from gigaedge.similarity import Similarity
from tests.command_line import answer, fails, succeeds
from tests.lerobot_writer import DatasetWriter, picture, read_video

GOLDEN = Path(__file__).parents[1] / "golden" / "gwp05-tiny"
OBSERVATION = GOLDEN / "io.safetensors"
SECONDS = [0.4, 0.8, 1.2, 1.6]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> DatasetWriter:
    return DatasetWriter(tmp_path_factory.mktemp("dataset"), lengths=(70, 31)).write()


def moment(written: DatasetWriter, frame: int) -> tuple[object, ...]:
    return ("--actual", written.root, "--episode", 0, "--frame", frame)


def test_it_explains_itself_and_inspect_tells_of_it(video_bundle: Path) -> None:
    assert "Example" in succeeds("imagine", "--help").stdout
    shown = succeeds("inspect", video_bundle).stdout
    assert "frames 0.4, 0.8, 1.2, 1.6 s ahead in 5 steps; shift 2.0, actions clean" in shown
    assert "decoder.onnx" in shown


def test_verify_compares_the_video_graphs(video_bundle: Path) -> None:
    found = answer("verify", video_bundle, "--checkpoint", GOLDEN)
    stages = {row["stage"].split(" (")[0]: row for row in found["stages"]}
    assert {"future velocity/5", "future trajectory/5", "frames"} <= stages.keys()
    assert found["passed"]


def test_an_observation_alone(video_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "imagined.mp4"
    found = answer("imagine", video_bundle, OBSERVATION, "--out", out)
    assert found["seconds"] == SECONDS
    assert found["frames"] == []
    assert set(found["milliseconds"]) == {"context", "steps", "video", "decoder"}
    assert found["kept"]["ssim"] < 1
    frames = read_video(out)
    assert [frame.shape for frame in frames] == [(408, 320, 3)] * 5
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 5 / 2)


def test_the_actions_are_those_of_infer(
    video_bundle: Path, exported: Callable[..., Path], tmp_path: Path
) -> None:
    """With a video branch in the bundle, and before and after imagining."""
    chunks = []
    for name, bundle in (
        ("plain", exported("gwp05-tiny")),
        ("before", video_bundle),
        ("after", video_bundle),
    ):
        out = tmp_path / f"{name}.safetensors"
        succeeds("infer", bundle, OBSERVATION, "--out", out)
        if name == "before":
            succeeds("imagine", bundle, OBSERVATION, "--out", tmp_path / "imagined.mp4")
        chunks.append(out.read_bytes())
    assert chunks[0] == chunks[1] == chunks[2]


def test_a_frame_of_a_dataset(video_bundle: Path, written: DatasetWriter, tmp_path: Path) -> None:
    """Frames 42, 54 and 66 of 70 exist; scores are those of what was recorded; the video shows it to the right."""
    out, page = tmp_path / "imagined.mp4", tmp_path / "page.html"
    found = answer("imagine", video_bundle, *moment(written, 30), "--out", out, "--report", page)
    assert [row["seconds"] for row in found["frames"]] == SECONDS[:3]
    compositor = Compositor((320, 384))

    def recorded(frame: int) -> np.ndarray:
        return compositor.compose({role: picture(role, 0, frame) for role in CAMERA_ROLES}).copy()

    for row, frame in zip(found["frames"], (42, 54, 66), strict=True):
        # The dataset's videos are compressed.
        unchanged = Similarity.of(recorded(30), recorded(frame))
        assert row["unchanged"]["ssim"] == pytest.approx(unchanged.ssim, abs=0.05)
        assert row["expected"]["ssim"] < row["unchanged"]["ssim"]
    shown = read_video(out)
    assert [frame.shape for frame in shown] == [(408, 640, 3)] * 5
    for frame, number in zip(shown, (30, 42, 54, 66), strict=False):
        assert np.abs(frame[24:, 320:].astype(int) - recorded(number)).mean() < 6
    assert shown[4][24:, 320:].std() < 3  # grey: nothing was recorded there
    text = page.read_text()
    assert "if nothing changed: PSNR, dB" in text
    assert "episode 0, frame 30" in text
    assert "<script" not in text


def test_a_table_for_people(video_bundle: Path, written: DatasetWriter, tmp_path: Path) -> None:
    out = tmp_path / "imagined.mp4"
    result = succeeds("imagine", video_bundle, *moment(written, 30), "--out", out)
    assert "if nothing changed: PSNR, dB" in result.stdout
    assert "expected 0.4, 0.8, 1.2, 1.6 s ahead" in result.stdout
    assert "were run with the bundle's prompt 'task'" in result.stderr
    late = succeeds("imagine", video_bundle, *moment(written, 69), "--out", out, "--force")
    assert "nothing was recorded within 1.6 s of the observation" in late.stderr


def test_pictures_of_a_file(video_bundle: Path, tmp_path: Path) -> None:
    """That the view is still is recognised: four times the observation itself."""
    observation = load_file(OBSERVATION)
    images = {f"image.{role}": observation[f"image.{role}"] for role in CAMERA_ROLES}
    actual = tmp_path / "actual.safetensors"
    save_file({key: np.stack([image] * 4) for key, image in images.items()}, actual)
    found = answer(
        "imagine", video_bundle, OBSERVATION, "--actual", actual, "--out", tmp_path / "imagined.mp4"
    )
    assert [row["unchanged"] for row in found["frames"]] == [{"psnr": None, "ssim": pytest.approx(1)}] * 4
    assert all(row["expected"]["psnr"] > 0 for row in found["frames"])


def test_an_observation_that_is_the_datasets_frame(
    video_bundle: Path, written: DatasetWriter, tmp_path: Path
) -> None:
    tensors = load_file(OBSERVATION)
    tensors["state"] = written.states[0][5]
    save_file(tensors, tmp_path / "obs.safetensors")
    out = tmp_path / "imagined.mp4"
    found = answer("imagine", video_bundle, tmp_path / "obs.safetensors", *moment(written, 5), "--out", out)
    assert len(found["frames"]) == 4
    fails(
        "the observation is not frame 6 of episode 0: their states differ by up to",
        *(
            "imagine",
            video_bundle,
            tmp_path / "obs.safetensors",
            *moment(written, 6),
            "--out",
            out,
            "--force",
        ),
    )


def test_what_is_refused(
    video_bundle: Path, exported: Callable[..., Path], written: DatasetWriter, tmp_path: Path
) -> None:
    out = tmp_path / "imagined.mp4"
    to = ("--out", out)
    fails(
        "expected a name that ends in .mp4", "imagine", video_bundle, OBSERVATION, "--out", tmp_path / "a.gif"
    )
    fails("export it again with --video", "imagine", exported("gwp05-tiny"), OBSERVATION, *to)
    fails("imagine needs an observation", "imagine", video_bundle, *to)
    fails("a dataset needs --episode and --frame", "imagine", video_bundle, "--actual", written.root, *to)
    fails("pass --actual DATASET with them", "imagine", video_bundle, OBSERVATION, "--frame", 3, *to)
    where = ("imagine", video_bundle, "--actual", written.root)
    fails("has episodes 0 to 1", *where, "--episode", 2, "--frame", 0, *to)
    fails("--frame 70: episode 0 has frames 0 to 69", *where, "--episode", 0, "--frame", 70, *to)
    few = tmp_path / "few.safetensors"
    save_file({f"image.{role}": np.zeros((3, 48, 64, 3), np.uint8) for role in CAMERA_ROLES}, few)
    given = ("imagine", video_bundle, OBSERVATION, "--actual")
    fails("image.cam_high: expected (4, height, width, 3)", *given, few, *to)
    save_file({"image.cam_high": np.zeros((4, 48, 64, 3), np.uint8)}, few)
    fails("key image.cam_left_wrist is missing", *given, few, *to)
    slow = DatasetWriter(tmp_path / "slow", lengths=(20,), fps=15).write()
    fails(
        "has 15 frames per second",
        *("imagine", video_bundle, "--actual", slow.root, "--episode", 0, "--frame", 0, *to),
    )
    assert not out.exists()
    out.write_bytes(b"mine")
    fails("exists already", "imagine", video_bundle, OBSERVATION, *to)
    assert out.read_bytes() == b"mine"


def test_export_refuses_what_has_no_video_branch(tmp_path: Path) -> None:
    fails(
        "--video: layout single keeps no cache",
        *("export", "--checkpoint", GOLDEN, "--prompt", f"t={OBSERVATION}", "--out", tmp_path / "b"),
        *("--video", "--layout", "single"),
    )
    assert list(tmp_path.iterdir()) == []
