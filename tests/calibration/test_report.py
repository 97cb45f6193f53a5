"""The report page: every quantity judged or named as not measured, and a page that a browser shows by itself."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge.calibration import Calibration, CameraCalibration, CaptureInfo, MountInfo, load_calibration
from gigaedge.calibration_chain import Chain, KeptCapture
from gigaedge.cli import browser
from gigaedge.cli.browser import find_browser
from gigaedge.documents import write_document
from gigaedge.errors import GigaedgeError
from gigaedge.files import sha256
from gigaedge.robot import CAMERA_ROLES
from gigaedge_calibration.captures import Capture, save_captures
from gigaedge_calibration.file_verdicts import judge_file, judge_kept, summary
from gigaedge_calibration.report import NOT_PROVEN
from gigaedge_calibration.verdicts import Judgement, Verdict
from tests.calibration.example_calibration import example, intrinsics, transform
from tests.calibration.test_transfer import SITE
from tests.command_line import fails, gigaedge, succeeds
from tests.core.test_pages import Reader


def picture(index: int) -> NDArray[np.uint8]:
    """A table with things on it, another for each camera."""
    random = np.random.default_rng(index)
    image = np.full((480, 640, 3), (150, 130, 105), np.uint8)
    image[:200] = (205, 208, 212)
    for _ in range(14):
        x, y = int(random.integers(0, 640)), int(random.integers(190, 470))
        colour = tuple(int(value) for value in random.integers(30, 230, 3))
        cv2.rectangle(image, (x, y), (x + int(random.integers(20, 110)), y + 60), colour, -1)
    return np.asarray(cv2.GaussianBlur(image, (5, 5), 0), np.uint8)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cell where all is known, with its reference pictures and captures."""
    folder = tmp_path_factory.mktemp("cell")
    file = folder / "cell.calibration.json"
    cameras, captures = [], []
    for index, camera in enumerate(example().cameras):
        place = Path("cell.calibration.captures") / f"views-{camera.role}"
        looks = save_captures(folder / place, [Capture(camera.role, picture(index), (0.0,) * 14)])
        name = f"000-{camera.role}.png"
        assert camera.view is not None
        view = camera.view.model_copy(update={"image": name, "sha256": sha256(folder / place / name)})
        cameras.append(camera.model_copy(update={"view": view}))
        captures.append(
            CaptureInfo(purpose="views", subject=camera.role, folder=str(place), sha256=sha256(looks))
        )
    # Not by `amend`, which writes the time of day: a page is the same for the same file.
    update = {"cameras": tuple(cameras), "captures": tuple(captures)}
    write_document(file, example().model_copy(update=update))
    path = folder / "cell.yaml"
    path.write_text(SITE)
    return path


@pytest.fixture(scope="module")
def html(site: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "report.html"
    done = succeeds("calibrate", "report", site, "--out", out)
    assert done.stdout == f"{out}: PASS: {len(judge_file(example())) + 2} PASS\n"
    return out.read_text()


def test_a_good_cell_passes_everything() -> None:
    rows = judge_file(example())
    assert [row for row in rows if row.verdict is not Verdict.PASS or not row.measured] == []
    assert {row.subject for row in rows} == {*CAMERA_ROLES, "cameras", "board", "arms", "left", "right"} - {
        "right"
    } | ({"right"})


def test_the_page_is_whole_and_needs_nothing_from_outside(html: str) -> None:
    read = Reader(html)
    assert "script" not in read.tags
    assert "link" not in read.tags
    assert all(each.startswith(("#", "data:image/png;base64,")) for each in read.references)
    assert any(each.startswith("data:") for each in read.references)
    assert set(re.findall(r"https?://[^\s\"'<>)]+", html)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert len(read.ids) == len(set(read.ids))
    assert (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in html
    )  # a browser would refuse the rest


def test_verdicts_come_first_and_what_they_do_not_prove_is_said(html: str) -> None:
    assert html.index('class="banner pass"') < html.index("<table>")
    headings = re.findall(r"<h2>(.*?)</h2>", html)
    assert headings[:3] == ["Verdicts", "What this does not prove", "What the policy sees"]
    text = Reader(html).text
    for claim in NOT_PROVEN:
        assert claim in text
    assert "Nothing here is a safety function." in text
    for said in ("132000000000", "5.16.0.1", "mount, rotation, two sigma", "(D) derived from the training crop",
                 "training moved it by up to 24 px", "243.00 mm over 9 squares", "opencv-python"):  # fmt: skip
        assert said in text or said in html


def test_the_same_file_gives_the_same_page(site: Path, html: str, tmp_path: Path) -> None:
    out = tmp_path / "again.html"
    succeeds("calibrate", "report", site, "--out", out)
    assert out.read_text() == html
    fails(
        "exists already; remove it, choose another --out, or pass --force",
        "calibrate",
        "report",
        site,
        "--out",
        out,
    )
    succeeds("calibrate", "report", site, "--out", out, "--force")


def test_what_nobody_measured_is_a_row(tmp_path: Path) -> None:
    bare = Calibration(created=datetime(2026, 1, 1, tzinfo=timezone.utc))
    file = tmp_path / "bare.calibration.json"
    camera = example().cameras[0]
    nothing = dict.fromkeys(("light", "factory", "intrinsics", "mount", "view", "latency"))
    write_document(file, bare.model_copy(update={"cameras": (camera.model_copy(update=nothing),)}))
    rows = {(row.subject, row.check): row for row in judge_file(load_calibration(file))}
    for check, verdict in (
        ("light locked", Verdict.WARN), ("reference view", Verdict.WARN), ("lens", Verdict.PASS),
        ("mount", Verdict.PASS), ("latency", Verdict.PASS),
    ):  # fmt: skip
        row = rows["cam_high", check]
        assert not row.measured
        assert row.verdict is verdict
        assert row.cause.startswith("not measured: ")
        assert row.mend.startswith("gigaedge calibrate ")
    for key in (("cam_left_wrist", "role"), ("cam_right_wrist", "role")):
        assert rows[key].verdict is Verdict.WARN
    for key in (("cameras", "skew between cameras"), ("board", "board measured with a ruler"),
                ("arms", "right base in left base"), ("left", "witness"), ("right", "witness")):  # fmt: skip
        assert not rows[key].measured

    out = tmp_path / "bare.html"
    done = gigaedge("calibrate", "report", file, "--out", out)
    assert done.returncode == 0
    assert done.stdout == f"{out}: WARN: 4 PASS, 12 not measured\n"
    page = out.read_text()
    assert '<td class="left">cam_left_wrist<br>cam_right_wrist</td>' in page  # what is alike is said once
    assert 'class="banner warn"' in page
    for said in ("not measured", "Not drawn: no reference view of cam_high, cam_left_wrist, cam_right_wrist",
                 "No mount was measured", "No joint's zero was measured.", "Latency was not measured."):  # fmt: skip
        assert said in Reader(page).text
    assert gigaedge("calibrate", "report", file, "--json", "--strict").returncode == 1


Change = Callable[[CameraCalibration], dict[str, Any]]


def _mount(**changes: object) -> Change:
    def change(camera: CameraCalibration) -> dict[str, Any]:
        assert camera.mount is not None
        return {"mount": MountInfo.model_validate(camera.mount.model_dump() | changes)}

    return change


def _unsure(degrees: float, metres: float) -> Change:
    camera = transform("left_base", "cam_high", (2.0, 0.1, 0.0, 0.4, -0.3, 0.9), degrees, metres)
    return _mount(transform=camera.model_dump())


def _lens(**changes: object) -> Change:
    return lambda camera: {"intrinsics": intrinsics(612.0, **changes)}


def _light(**changes: object) -> Change:
    return lambda camera: {"light": camera.light and camera.light.model_copy(update=changes)}


@pytest.mark.parametrize(
    ("change", "check", "verdict", "value"),
    [
        (_lens(rms=0.4), "lens, reprojection error", Verdict.WARN, 0.4),
        (_lens(rms=0.7), "lens, reprojection error", Verdict.FAIL, 0.7),
        (_lens(held_out_rms=0.2), "lens, held-out error", Verdict.FAIL, 2.5),
        (_lens(coverage=0.5), "lens, picture not covered", Verdict.FAIL, 50),
        (_lens(projection_sigma=1.0), "lens, uncertainty in the policy's crop", Verdict.WARN, 1.0),
        (_lens(fx=650.0), "lens, focal length against the factory's", Verdict.FAIL, 100 * (650 / 611 - 1)),
        (_unsure(0.1, 0.0003), "mount, rotation, two sigma", Verdict.WARN, 0.2),
        (_unsure(0.02, 0.003), "mount, translation, two sigma", Verdict.FAIL, 6.0),
        (_mount(sigma_px=0.5), "mount, noise of corners", Verdict.WARN, 0.5),
        (_mount(sigma_joint=0.01), "mount, noise of joints", Verdict.FAIL, np.degrees(0.01)),
        (_mount(held_out_ratio=1.7), "mount, held-out error", Verdict.WARN, 1.7),
        (_mount(second_opinion=12), "mount, second opinion", Verdict.FAIL, 12),
        (_mount(zero_offsets=(0, 0, 0.035, 0, 0, 0)), "joint zeros, greatest offset", Verdict.FAIL, np.degrees(0.035)),
        (_mount(causes=("dh_is_offset 0 fits: set it",)), "mount, suspicion", Verdict.WARN, None),
        (_light(exposure=None), "light locked", Verdict.WARN, None),
        (lambda camera: {"proof": "serial"}, "role, proven by motion", Verdict.WARN, None),
        (lambda camera: {"usb": "2.1"}, "USB link", Verdict.FAIL, None),
        (lambda camera: {"latency": camera.latency and camera.latency.model_copy(update={"sigma": 0.004})},
         "latency, sigma", Verdict.WARN, 4),
    ],
)  # fmt: skip
def test_each_fault_is_a_row_with_its_verdict(
    change: Change, check: str, verdict: Verdict, value: float | None
) -> None:
    camera = example().cameras[0]
    spoilt = camera.model_copy(update=change(camera))
    rows = judge_file(example().model_copy(update={"cameras": (spoilt, *example().cameras[1:])}))
    bad = [row for row in rows if row.verdict is not Verdict.PASS]
    (row,) = [row for row in bad if row.check == check]
    assert (row.subject, row.verdict) == ("cam_high", verdict)
    assert row.value == (None if value is None else pytest.approx(value))
    assert row.cause
    assert row.mend
    assert summary(rows)[0] is verdict


def test_skew_board_and_witness_are_judged() -> None:
    def only(calibration: Calibration) -> Judgement:
        (row,) = [row for row in judge_file(calibration) if row.verdict is not Verdict.PASS]
        return row

    first, second, third = example().cameras
    assert third.latency is not None
    late = third.model_copy(update={"latency": third.latency.model_copy(update={"seconds": -0.046})})
    row = only(example().model_copy(update={"cameras": (first, second, late)}))
    assert (row.check, row.verdict) == ("skew between cameras", Verdict.WARN)
    assert row.value == pytest.approx(15)
    assert row.sigma == pytest.approx(np.sqrt(2))

    assert example().board is not None
    unmeasured = example().board.model_copy(update={"measured": None})  # type: ignore[union-attr]
    assert only(example().model_copy(update={"board": unmeasured})).verdict is Verdict.FAIL

    (witness, other) = example().witnesses
    blind = witness.model_copy(update={"front": ()})
    row = only(example().model_copy(update={"witnesses": (blind, other)}))
    assert (row.check, row.subject, row.verdict) == ("witness", "left", Verdict.WARN)
    assert "3 looks and no front view" in row.cause


def test_an_absent_arm_has_nothing_to_be_measured() -> None:
    one = example().model_copy(update={"bases": None, "witnesses": example().witnesses[:1]})
    assert all(row.measured for row in judge_file(one, ("left",)))
    assert [row.check for row in judge_file(one) if not row.measured] == [
        "right base in left base",
        "witness",
    ]


def test_a_broken_history_warns() -> None:
    info = CaptureInfo(purpose="views", subject="cam_high", folder="f", sha256="0" * 64)
    rows = judge_kept(
        Chain((), "a.json is missing"), [KeptCapture(info, "f has no looks.json"), KeptCapture(info)]
    )
    assert [(row.check, row.verdict, row.cause) for row in rows] == [
        ("chain of files", Verdict.WARN, "a.json is missing"),
        ("captures: views", Verdict.WARN, "f has no looks.json"),
    ]


def test_the_judgements_as_json_and_a_failure_is_exit_code_1(tmp_path: Path) -> None:
    file = tmp_path / "bad.calibration.json"
    camera = example().cameras[0].model_copy(update={"usb": "2.1"})
    write_document(file, example().model_copy(update={"cameras": (camera, *example().cameras[1:])}))
    done = gigaedge("calibrate", "report", file, "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert said["verdict"] == "fail"
    assert said["page"] is None
    assert said["sha256"] == sha256(file)
    (usb,) = [row for row in said["judgements"] if row["verdict"] == "fail"]
    assert (usb["check"], usb["subject"], usb["measured"]) == ("USB link", "cam_high", True)
    assert not list(tmp_path.glob("*.html"))


@pytest.mark.skipif(
    find_browser() is None, reason="needs a Chromium: sh tools/system-packages.sh browser python3"
)
def test_a_browser_shows_the_page(site: Path, tmp_path: Path) -> None:
    folder = Path(os.environ.get("GIGAEDGE_ARTEFACTS", tmp_path))
    shot, page = folder / "calibration-report.png", tmp_path / "report.html"
    succeeds("calibrate", "report", site, "--out", page, "--screenshot", shot, "--force")
    image = cv2.imread(str(shot), cv2.IMREAD_COLOR)
    assert image is not None
    assert image.shape == (2400, 1200, 3)
    assert len(np.unique(image.reshape(-1, 3), axis=0)) > 200  # pictures and text, not a blank sheet
    dom = browser.screenshot(page, tmp_path / "again.png")
    assert "mount, rotation, two sigma" in dom
    assert dom.count("<svg") >= 6


def test_without_a_browser_the_page_is_written_and_the_picture_refused(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    call = ("calibrate", "report", site, "--out", tmp_path / "a.html", "--screenshot", tmp_path / "a.png")
    fails("no chromium or chromium-browser or google-chrome on PATH; install one", *call)
    assert (tmp_path / "a.html").is_file()
    assert not (tmp_path / "a.png").exists()


def test_a_browser_that_makes_no_picture_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\necho no display >&2\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(GigaedgeError, match=r"chromium made no picture of .*page.html: no display"):
        browser.screenshot(tmp_path / "page.html", tmp_path / "a.png")
    broken.write_text("#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(browser, "PATIENCE", 0.2)
    with pytest.raises(GigaedgeError, match=r"made no picture of .*page.html within 0 s"):
        browser.screenshot(tmp_path / "page.html", tmp_path / "a.png")
