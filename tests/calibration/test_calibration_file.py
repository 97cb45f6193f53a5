"""The calibration file: what it refuses, how it is changed, and how its history is followed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gigaedge import files
from gigaedge.calibration import Calibration, CaptureInfo, amend, kept_file, load_calibration
from gigaedge.calibration_chain import follow, verify_captures
from gigaedge.documents import write_document
from gigaedge.errors import CalibrationError
from gigaedge.files import sha256
from gigaedge_calibration.captures import Capture, save_captures
from tests.calibration.example_calibration import example

Tree = dict[str, Any]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cell.calibration.json"
    write_document(path, example())
    return path


def test_everything_comes_back(file: Path) -> None:
    assert load_calibration(file) == example()


def _serial(tree: Tree) -> None:
    tree["cameras"][1]["serial"] = tree["cameras"][0]["serial"]


def _role(tree: Tree) -> None:
    tree["cameras"][1] = tree["cameras"][0] | {"serial": "7"}


def _bracket(tree: Tree) -> None:
    tree["cameras"][1]["mount"]["transform"]["translation"] = [0.0, -0.8, 0.03]


def _translation(tree: Tree) -> None:
    tree["cameras"][0]["mount"]["transform"]["translation"] = [400.0, -300.0, 900.0]


def _board(tree: Tree) -> None:
    tree["board"]["square"] = 27.0


def _measured(tree: Tree) -> None:
    tree["board"]["measured"] = 243.0


def _marker(tree: Tree) -> None:
    tree["board"]["marker"] = 0.03


def _principal(tree: Tree) -> None:
    tree["cameras"][0]["intrinsics"]["cx"] = 640.0


def _focal(tree: Tree) -> None:
    tree["cameras"][0]["intrinsics"]["fx"] = 1.93


def _stream(tree: Tree) -> None:
    tree["cameras"][0]["stream"] |= {"width": 848}


def _terms(tree: Tree) -> None:
    tree["cameras"][0]["intrinsics"]["distortion"] = [0.1, 0.2, 0.0, 0.0]


def _covariance_size(tree: Tree) -> None:
    tree["cameras"][0]["intrinsics"]["covariance"] = np.eye(4).tolist()


def _asymmetric(tree: Tree) -> None:
    tree["cameras"][0]["intrinsics"]["covariance"][0][1] = 0.05


def _indefinite(tree: Tree) -> None:
    matrix = tree["cameras"][0]["mount"]["transform"]["covariance"]
    matrix[0][1] = matrix[1][0] = 2 * matrix[0][0]


def _negative(tree: Tree) -> None:
    tree["cameras"][0]["mount"]["transform"]["covariance"][2][2] = -1e-9


def _quaternion(tree: Tree) -> None:
    tree["cameras"][0]["mount"]["transform"]["quaternion"] = [1.0, 0.1, 0.0, 0.0]


def _other_wrist(tree: Tree) -> None:
    tree["cameras"][1]["mount"]["transform"]["parent"] = "right_link6"


def _other_base(tree: Tree) -> None:
    tree["cameras"][1]["mount"]["board"]["parent"] = "right_base"


def _high_on_wrist(tree: Tree) -> None:
    tree["cameras"][0]["mount"]["transform"]["parent"] = "left_link6"


def _bases(tree: Tree) -> None:
    tree["bases"] |= {"parent": "right_base", "child": "left_base"}


def _itself(tree: Tree) -> None:
    tree["bases"] |= {"child": "left_base"}


def _degrees(tree: Tree) -> None:
    tree["cameras"][1]["mount"]["zero_offsets"] = [0, 2.0, -2.0, 0, 0, 0]


def _milliseconds(tree: Tree) -> None:
    tree["cameras"][1]["latency"]["seconds"] = -31.0


def _unknown(tree: Tree) -> None:
    tree["cameras"][1]["latency"]["sigm"] = 0.1


def _region(tree: Tree) -> None:
    tree["cameras"][1]["view"]["gripper"] = [300, 0, 200, 100]


def _unpaired(tree: Tree) -> None:
    tree["witnesses"][0]["looks"][0]["ids"] = [0, 1]


def _same_corner(tree: Tree) -> None:
    tree["witnesses"][0]["looks"][0]["ids"] = [0, 1, 1]


def _sides(tree: Tree) -> None:
    tree["witnesses"] *= 2


def _state(tree: Tree) -> None:
    tree["cameras"][0]["view"]["joints"] = [0.0] * 6


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_serial, "serial 132000000000 is there 2 times; each is of one thing"),
        (_role, "role cam_high is there 2 times; each is of one thing"),
        (_bracket, "mount.transform.translation: 0.8006 m is longer than a wrist camera's bracket (0.5 m)"),
        (_translation, "mount.transform.translation`: 1030 m is longer than a cell (5 m); were millimetres"),
        (_board, "`board.square`: Input should be less than 0.5"),
        (_measured, "`board`: measured 243 m over 9 squares is not their 0.243 m; square is measured / columns, in m"),
        (_marker, "`board`: marker 0.03 m does not fit into a square of 0.027 m"),
        (_principal, "cx 640 px is far from the middle of a picture of 640x480; is this of another resolution?"),
        (_focal, "fx 1.93 px cannot be of a picture 640 px wide"),
        (_stream, "intrinsics of cam_high are of 640x480 px and its stream is of 848x480: calibrate that stream"),
        (_terms, "distortion: model radial_tangential has 5 coefficients, got 4"),
        (_covariance_size, "covariance: expected 9 x 9 numbers, got 4 x 4"),
        (_asymmetric, "`cameras.0.intrinsics`: covariance: not symmetric"),
        (_indefinite, "covariance: not positive semi-definite"),
        (_negative, "covariance: variance 3 is negative"),
        (_quaternion, "a rotation's quaternion has length 1; this one has 1.004988"),
        (_other_wrist, "mount.transform is of cam_left_wrist in right_link6; expected cam_left_wrist in left_link6"),
        (_other_base, "mount.board is of board in right_base; expected board in left_base"),
        (_high_on_wrist, "mount.transform is of cam_high in left_link6; expected cam_high in left_base or right_base"),
        (_bases, "bases is of left_base in right_base; expected right_base in left_base"),
        (_itself, "`bases`: parent and child are both left_base"),
        (_degrees, "mount.zero_offsets`: 2 rad is more than any joint's zero is off (0.35); were degrees"),
        (_milliseconds, "latency.seconds`: -31 s is no camera's latency (at most 1); were milliseconds written as s?"),
        (_unknown, "unknown key `cameras.1.latency.sigm`; did you mean `sigma`?"),
        (_region, "gripper: expected left, top, right, bottom with left < right and top < bottom"),
        (_unpaired, "2 ids and 3 corners; expected one id per corner"),
        (_same_corner, "corner id 1 is there 2 times"),
        (_sides, "witness side left is there 2 times"),
        (_state, "`cameras.0.view.joints`: "),
    ],
)  # fmt: skip
def test_what_cannot_be_true_is_refused_in_one_line(
    file: Path, spoil: Callable[[Tree], None], message: str
) -> None:
    tree = json.loads(file.read_text())
    spoil(tree)
    file.write_text(json.dumps(tree))
    with pytest.raises(CalibrationError) as refused:
        load_calibration(file)
    text = str(refused.value)
    assert message in text
    assert text.startswith(f"{file}: ")
    assert "\n" not in text


def test_other_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    with pytest.raises(CalibrationError, match="no such calibration; make one with `gigaedge calibrate`"):
        load_calibration(file)
    file.write_text("{")
    with pytest.raises(CalibrationError, match="not valid JSON"):
        load_calibration(file)
    file.write_text('{"schema": "gigaedge.calibration/2"}')
    with pytest.raises(
        CalibrationError, match=r"schema 'gigaedge.calibration/2' is not known to this version"
    ):
        load_calibration(file)


def test_an_amendment_names_what_it_was_made_with_and_keeps_the_file_before_byte_for_byte(file: Path) -> None:
    file.write_text(file.read_text().replace("\n", "\n "))  # as a person may have indented it
    before, checksum = file.read_bytes(), sha256(file)
    after = amend(file, lambda old: old.model_copy(update={"bases": None}))
    assert after == load_calibration(file)
    assert after.bases is None
    assert after.previous == checksum
    assert after.versions.keys() >= {"gigaedge", "numpy", "opencv-python"}
    assert kept_file(file, checksum).read_bytes() == before
    assert after.created > example().created


def test_an_impossible_amendment_is_not_written(file: Path) -> None:
    before = file.read_bytes()
    with pytest.raises(CalibrationError, match=r"not written: .*role cam_high is there 2 times"):
        amend(file, lambda old: old.model_copy(update={"cameras": old.cameras + old.cameras[:1]}))
    assert file.read_bytes() == before


def test_nothing_is_half_written_when_the_disk_is_full(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def full(path: Path) -> None:
        if ".calibration.json." in path.name and path.suffix == ".tmp":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "_sync", full)
    with pytest.raises(
        CalibrationError, match=r"cannot be written \(No space left on device\); it is as it was"
    ):
        amend(file, lambda old: old)
    assert file.read_bytes() == before
    assert not list(file.parent.glob(".*.tmp"))


def test_what_the_change_itself_cannot_read_is_its_own_error(file: Path) -> None:
    before = sorted(file.parent.iterdir())
    with pytest.raises(FileNotFoundError, match="absent"):
        amend(file, lambda old: old.model_copy(update={"previous": sha256(file.parent / "absent")}))
    assert sorted(file.parent.iterdir()) == before


def test_nothing_is_half_written_at_ctrl_c(file: Path) -> None:
    before = file.read_bytes()
    program = (
        "import sys, time; from pathlib import Path; from gigaedge import calibration as c\n"
        "c.amend(Path(sys.argv[1]), lambda old: (print('in', flush=True), time.sleep(60), old)[2])"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", program, str(file)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"in\n"
    writer.send_signal(signal.SIGINT)
    assert writer.wait(30) != 0
    writer.stdout.close()
    assert file.read_bytes() == before
    assert not list(file.parent.glob(".*.tmp"))
    amend(file, lambda old: old)  # its lock went with it


def test_two_at_once_lose_nothing(tmp_path: Path) -> None:
    file = tmp_path / "cell.calibration.json"
    count = 6

    def add(index: int) -> None:
        def change(old: Calibration) -> Calibration:
            info = CaptureInfo(purpose="views", subject=str(index), folder="f", sha256="0" * 64)
            return old.model_copy(update={"captures": (*old.captures, info)})

        amend(file, change)

    threads = [threading.Thread(target=add, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(info.subject for info in load_calibration(file).captures) == [str(i) for i in range(count)]
    chain = follow(file)
    assert not chain.broken
    assert len(chain.links) == count


def test_the_chain_says_where_it_breaks(tmp_path: Path) -> None:
    file = tmp_path / "cell.calibration.json"
    for update in ({"board": example().board}, {"bases": example().bases}, {"cameras": example().cameras}):
        amend(file, lambda old, update=update: old.model_copy(update=update))  # type: ignore[misc]
    whole = follow(file)
    assert not whole.broken
    assert [link.sha256 for link in whole.links] == [sha256(link.file) for link in whole.links]
    assert whole.links[0].file == file
    middle, first = whole.links[1].file, whole.links[2].file

    text = first.read_text()
    first.write_text(text.replace("0.243", "0.244"))
    altered = follow(file)
    assert len(altered.links) == 2
    assert altered.broken.startswith(f"{first.name} was altered: its SHA-256 is ")
    assert middle.name in altered.broken
    first.unlink()
    assert follow(file).broken == f"{first.name} is missing; {middle.name} replaced it"


def test_captures_are_checked_against_their_checksums(file: Path) -> None:
    folder = file.parent / "cell.calibration.captures" / "intrinsics-cam_high"
    looks = save_captures(folder, [Capture("cam_high", np.zeros((16, 16, 3), np.uint8))])
    info = CaptureInfo(
        purpose="intrinsics",
        subject="cam_high",
        folder=str(folder.relative_to(file.parent)),
        sha256=sha256(looks),
    )
    calibration = example().model_copy(update={"captures": (info,)})

    def problem() -> str:
        (kept,) = verify_captures(file, calibration)
        return kept.problem

    assert problem() == ""
    picture = folder / "000-cam_high.png"
    intact = picture.read_bytes()
    picture.write_bytes(intact[:-1])
    assert "000-cam_high.png has" in problem()
    picture.write_bytes(intact)
    looks.write_text(looks.read_text() + " ")
    assert "is not the one that was solved (another SHA-256)" in problem()
    shutil.rmtree(folder)
    assert "has no looks.json; copy the folder back" in problem()
