"""`gigaedge run --record`, `replay` and `plot` as a person uses them, with the demo's bundle."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gigaedge_runtime.flight_reader import FlightRecord
from tests.command_line import answer, fails, gigaedge, succeeds
from tests.flight_cell import FlightCell, rewrite

pytestmark = pytest.mark.realtime

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def flight(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three seconds of the example."""
    target = tmp_path_factory.mktemp("flight") / "sim.mcap"
    site = ROOT / "examples" / "sim.yaml"
    done = subprocess.run(
        [sys.executable, "-m", "gigaedge", "run", str(site), "--for", "3s", "--record", str(target)],
        capture_output=True, text=True, timeout=200, check=False, env=os.environ | {"XDG_CACHE_HOME": str(demo_cache)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "flight record" in done.stdout
    assert str(target) in done.stdout
    return target


@pytest.fixture(autouse=True)
def _same_cache(demo_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(demo_cache))


def test_a_run_is_reproduced(flight: Path) -> None:
    found = answer("replay", flight)
    assert found["equal"]
    assert found["notes"] == []
    assert found["control"]["worst"] <= 1e-12
    assert found["control"]["ticks"] > 300
    assert found["control"]["values"] > 1000
    assert found["chunks"]["chunks"] >= 2
    assert max(found["chunks"]["worst"].values()) <= 1e-5
    assert found["chunks"]["same_bundle"]
    printed = succeeds("replay", flight).stdout
    for words in ("ticks compared", "sent values compared", "chunks compared", "deg", "mm"):
        assert words in printed


def test_a_tampered_observation_changes_its_chunk(flight: Path, tmp_path: Path) -> None:
    def tamper(topic: str, sequence: int, content: dict[str, Any]) -> dict[str, Any]:
        if topic == "/observation" and sequence == 2:
            noise = content["arrays"]["input.noise"]
            noise["data"] = base64.b64encode(bytes(len(base64.b64decode(noise["data"])))).decode()
        return content

    path = rewrite(flight, tmp_path / "tampered.mcap", tamper)
    result = gigaedge("replay", path, "--json")
    assert result.returncode == 1
    assert "tampered.mcap: chunk 2: action " in result.stderr
    found = json.loads(result.stdout)
    assert not found["equal"]
    assert found["control"]["first"] is None
    assert found["chunks"]["differing"] == 1


def test_a_chunk_that_was_not_recorded(flight: Path, tmp_path: Path) -> None:
    def drop(topic: str, sequence: int, content: dict[str, Any]) -> dict[str, Any] | None:
        return None if topic == "/observation" and sequence == 1 else content

    result = gigaedge("replay", rewrite(flight, tmp_path / "dropped.mcap", drop))
    assert result.returncode == 1
    assert "dropped.mcap: 1 chunks were not recorded" in result.stderr


def test_an_observation_of_a_later_version(flight: Path, tmp_path: Path) -> None:
    def add(topic: str, sequence: int, content: dict[str, Any]) -> dict[str, Any]:
        if topic == "/observation":
            content["arrays"]["input.touch"] = content["arrays"]["state"]
        return content

    path = rewrite(flight, tmp_path / "later.mcap", add)
    fails("chunk 1 was computed from touch, which this version of gigaedge does not know", "replay", path)


def test_another_bundle(
    flight: Path, exported: Callable[..., Path], demo_cache: Path, tmp_path: Path
) -> None:
    other = exported("gwp05-tiny")
    result = succeeds("replay", flight, "--bundle", other)
    assert "note: this is not the bundle that made the chunks" in result.stderr
    found = answer("replay", flight, "--bundle", other)
    assert found["equal"]
    assert not found["chunks"]["same_bundle"]
    assert max(found["chunks"]["worst"].values()) > 1e-3
    bundle = next(demo_cache.rglob("bundle"))
    copy = shutil.copytree(bundle, tmp_path / "copy")
    assert answer("replay", flight, "--bundle", copy)["chunks"]["same_bundle"]


def test_a_bundle_that_is_gone(flight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bundle = FlightRecord(flight).bundle
    assert bundle is not None
    moved = bundle.rename(bundle.with_name("moved"))
    try:
        fails("the bundle of this record is not there; pass it with --bundle DIR", "replay", flight)
    finally:
        moved.rename(bundle)


def test_other_limits(flight: Path, tmp_path: Path) -> None:
    limits = tmp_path / "slow.yaml"
    limits.write_text("limits: {velocity: 0.1, approach_velocity: 0.1}\n")
    found = answer("replay", flight, "--limits", limits)
    assert found["first_time"] is not None
    assert max(found["largest"].values()) > 1e-3
    printed = succeeds("replay", flight, "--limits", limits).stdout
    assert "differs for the first time" in printed
    same = answer("replay", flight, "--limits", ROOT / "examples" / "sim.yaml")
    assert same["first_time"] is None
    fails("the right arm is absent either there or in the record", "replay", flight,
          "--limits", ROOT / "examples" / "bimanual.yaml")  # fmt: skip
    limits.write_text("limits: {velocty: 1}\n")
    fails("limits: unknown key `velocty`; did you mean `velocity`?", "replay", flight, "--limits", limits)
    limits.write_text("- 1\n")
    fails("expected a mapping", "replay", flight, "--limits", limits)
    fails("cannot be read", "replay", flight, "--limits", tmp_path / "none.yaml")
    fails("pass one of --bundle and --limits", "replay", flight, "--limits", limits, "--bundle", tmp_path)


def test_a_page(flight: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert str(out) in succeeds("plot", flight, "--out", out).stdout
    html = out.read_text()
    assert "Left arm" in html
    assert "Right arm" not in html, "it is absent"
    fails("exists already; remove it, choose another --out, or pass --force", "plot", flight, "--out", out)
    succeeds("plot", flight, "--out", out, "--force")


def test_a_tampered_record_and_one_with_a_gap(tmp_path: Path) -> None:
    with FlightCell(tmp_path / "f.mcap") as cell:
        cell.start()
        cell.run(0.3)

    def tamper(topic: str, sequence: int, content: dict[str, Any]) -> dict[str, Any]:
        if topic == "/sent" and sequence == 50:
            content["right_gripper"] += 1e-3
        return content

    def drop(topic: str, sequence: int, content: dict[str, Any]) -> dict[str, Any] | None:
        return None if topic == "/tick" and sequence in (60, 61) else content

    result = succeeds("replay", cell.path)
    assert "note: the run was recorded without a bundle" in result.stderr
    error = gigaedge("replay", rewrite(cell.path, tmp_path / "t.mcap", tamper)).stderr
    assert "t.mcap: tick 50 (" in error
    assert "right_gripper was sent" in error
    result = gigaedge("replay", rewrite(cell.path, tmp_path / "d.mcap", drop))
    assert result.returncode == 1
    assert "d.mcap: ticks 60 to 61 were not recorded" in result.stderr


def test_wrong_files(tmp_path: Path) -> None:
    text = tmp_path / "text.mcap"
    text.write_text("no flight record at all")
    for command in ("replay", "plot"):
        fails("no such file", command, tmp_path / "none.mcap")
        fails("no MCAP file", command, text)
    site = ROOT / "examples" / "sim.yaml"
    fails(
        "exists already; remove it, choose another --record, or pass --force", "run", site, "--record", text
    )
    fails("call it run.mcap", "run", site, "--record", tmp_path / "run.bag")
