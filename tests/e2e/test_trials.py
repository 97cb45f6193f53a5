"""`gigaedge trials` as a person calls it: in simulation with a bundle, its control and the expert; and its refusals."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml

from gigaedge.cli import trials_person
from gigaedge.cli.trials_keys import TerminalKeys
from gigaedge.trials import AttemptInfo, EpisodeInfo, TrialsReport
from gigaedge_runtime import trials
from gigaedge_runtime.tasks.lift_block import LiftBlock
from tests.command_line import answer, fails, gigaedge, succeeds
from tests.page_reader import Page

ROOT = Path(__file__).parents[2]
GOLDEN = "gwp05-tiny"


class Hasty(LiftBlock):
    """The expert needs about two seconds; no policy that was not trained gets further than trying."""

    limit = 3.2


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "TASKS", MappingProxyType({"lift-block": Hasty()}))


@pytest.fixture
def cell(exported: Callable[..., Path], tmp_path: Path) -> Path:
    """The example's cell with a golden bundle and small pictures."""
    data = yaml.safe_load((ROOT / "examples" / "cell.yaml").read_text())
    data["bundle"] = str(exported(GOLDEN))
    del data["simulation"]
    data["cameras"] = [camera | {"width": 64, "height": 48} for camera in data["cameras"]]
    file = tmp_path / "cell.yaml"
    file.write_text(yaml.safe_dump(data))
    return file


def test_rows_page_and_json_of_a_policy_its_control_and_the_expert(
    cell: Path, tmp_path: Path, hasty: None
) -> None:
    page, out = tmp_path / "trials.html", tmp_path / "trials.json"
    done = succeeds(
        *("trials", cell, "--episodes", 2, "--attempts", 1, "--steps", "10,4", "--latency", "100ms"),
        *("--blind", "--expert", "--report", page, "--out", out),
    )
    report = TrialsReport.model_validate_json(out.read_text())
    assert [row.name for row in report.rows] == [
        *(f"{GOLDEN}-bf16-split, {steps} steps, rtc" for steps in (10, 4)),
        f"{GOLDEN}-bf16-split, 10 steps, rtc, blind",
        "expert, rtc",
    ]
    assert [row.summary.successes for row in report.rows] == [0, 0, 0, 2]
    assert [[episode.seed for episode in row.episodes] for row in report.rows] == [[0, 1]] * 4
    assert {row.latency for row in report.rows} == {0.1}
    assert (report.judge, report.interrupted, report.notices) == ("simulation", False, ())
    assert report.command.startswith("gigaedge trials ")
    assert report.rows[3].difference is not None
    lines = [line for line in done.stdout.splitlines() if line.startswith("lift-block")]
    assert len(lines) == 4
    assert "2/2" in lines[3]
    shown = Page(page.read_text())
    assert shown.tags.count("video") == 8, "two of each row"
    assert "expert, rtc" in shown.text


def test_json_is_all_that_a_script_gets(cell: Path, hasty: None) -> None:
    report = answer("trials", cell, "--episodes", 1, "--attempts", 1, "--seed", 3, "--modes", "fade")
    row = report["rows"][0]
    assert report["schema"] == "gigaedge.trials/1"
    assert (row["mode"], row["episodes"][0]["seed"]) == ("fade", 3)
    assert row["latency"] > 0, "measured"


def test_what_cannot_be_tried_is_said_before_anything_is(cell: Path, tmp_path: Path) -> None:
    fails("--tasks 'lift': no such task; there are lift-block, ", "trials", cell, "--tasks", "lift")
    fails("--modes 'rtc,rtc': expected some of rtc, fade, synchronous", "trials", cell, "--modes", "rtc,rtc")
    fails("choose a seed of at most 99980", "trials", cell, "--seed", 99_990)
    fails("no euler table for 7 steps", "trials", cell, "--steps", "7")
    fails("no bundle here", "trials", cell, "--bundle", tmp_path)
    fails("--latency 'soon': expected a time", "trials", cell, "--latency", "soon")
    fails("--limit says nothing where the simulation judges", "trials", cell, "--limit", "5s")
    person = ("trials", cell, "--judge", "person")
    fails("--blind says nothing where a person judges", *person, "--blind")
    fails("--modes synchronous: only in simulation do arms wait", *person, "--modes", "synchronous")
    fails("how long may an attempt take? pass --limit", *person, "--tasks", "towel")
    fails("start this in a terminal", *person, "--tasks", "lift-block")


def test_a_site_that_the_simulated_world_cannot_be_is_refused(cell: Path, tmp_path: Path) -> None:
    data = yaml.safe_load(cell.read_text())
    file = tmp_path / "other.yaml"
    data["arms"][0] = {"side": "left", "driver": "piper"}
    file.write_text(yaml.safe_dump(data))
    fails("has a real arm; --judge simulation is for", "trials", file, "--judge", "simulation")
    data["arms"][0] = {"side": "left", "driver": "absent", "pose": [0.0] * 7}
    file.write_text(yaml.safe_dump(data))
    fails("the site file says that one is absent", "trials", file)
    data = yaml.safe_load(cell.read_text())
    data["cameras"][1]["width"] = 320
    file.write_text(yaml.safe_dump(data))
    fails("draw all cameras in one size; the site file has 64x48, 320x48 px", "trials", file)


def test_a_person_scores_row_by_row_until_it_is_enough(cell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sites: list[Any] = []
    titles: list[str] = []

    class Person:
        def episode(self, site: Any, title: str, *, attempts: int, limit: float) -> EpisodeInfo | None:
            sites.append(site)
            titles.append(title)
            if len(titles) == 4:
                return None
            return EpisodeInfo(attempts=(AttemptInfo(outcome="success", seconds=limit / 2, chunks=7),))

    class Terminal:
        def __enter__(self) -> None:
            return None

        def __exit__(self, *_: object) -> None:
            return None

    monkeypatch.setattr(trials_person, "terminal_keys", Terminal)
    monkeypatch.setattr(trials_person, "at_terminal", lambda _: Person())
    done = gigaedge(
        *("trials", cell, "--judge", "person", "--tasks", "task", "--limit", "8s", "--episodes", 2),
        *("--modes", "rtc,fade", "--steps", "4", "--json"),
    )
    assert done.returncode == 130
    report = TrialsReport.model_validate_json(done.stdout)
    assert (report.judge, report.seed, report.interrupted) == ("person", None, True)
    assert [(row.mode, len(row.episodes), row.latency) for row in report.rows] == [
        ("rtc", 2, None),
        ("fade", 1, None),
    ]
    assert titles[0] == f"task, {GOLDEN}-bf16-split, 4 steps, rtc: episode 1 of 2"
    assert [site.execution.handover for site in sites] == ["rtc", "rtc", "crossfade", "crossfade"]
    assert {(site.prompt, site.inference.steps) for site in sites} == {("task", 4)}


def test_keys_come_from_the_terminal_one_by_one() -> None:
    ours, theirs = pty.openpty()
    keys = TerminalKeys(theirs)
    trials_keys_are_raw(theirs)
    assert keys.pressed(0.0) is None
    os.write(ours, b"S\nq")
    assert [keys.pressed(1.0) for _ in range(3)] == ["s", "\n", "q"]
    os.write(ours, b"f")
    select.select([theirs], [], [], 1.0)
    keys.forget()
    assert keys.pressed(0.05) is None
    for fd in (ours, theirs):
        os.close(fd)


def trials_keys_are_raw(fd: int) -> None:
    import tty

    tty.setcbreak(fd)


def test_ctrl_c_prints_what_there_is(cell: Path, tmp_path: Path) -> None:
    out = tmp_path / "trials.json"
    command = [
        *(
            sys.executable,
            "-m",
            "gigaedge",
            "trials",
            str(cell),
            "--expert",
            "--attempts",
            "1",
            "--steps",
            "4",
        ),
        *(
            "--tasks",
            "lift-block",
            "--latency",
            "100ms",
            "--episodes",
            "500",
            "--jobs",
            "2",
            "--out",
            str(out),
        ),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and sum(map(busy, children.read_text().split())) < 2:
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            stdout, stderr = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert "Trials" in stdout
    assert json.loads(out.read_text())["interrupted"] is True


def busy(pid: str) -> bool:
    """Whether a process has computed for some seconds: it has imported everything and plays. False once it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") > 2.5
