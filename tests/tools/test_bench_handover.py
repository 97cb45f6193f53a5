"""The benchmark of the ways to hand over: what it measures, that it repeats, and that the default earns its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import bench_handover
from gigaedge.site import ExecutionConfig
from gigaedge_export.checkpoint import CheckpointPaths, load_checkpoint
from gigaedge_export.export import ExportOptions, export_bundle
from gigaedge_export.random_checkpoint import PROMPT, Sizes, write_random_checkpoint
from gigaedge_runtime import Observation, Policy
from gigaedge_runtime.rtc import guide
from gigaedge_runtime.seam import JOINTS
from gigaedge_runtime.trajectory import Trajectory
from handover_cell import Scene, Timing, closed_loop, recorded
from tests.lerobot_writer import DatasetWriter

TIMING = Timing(delay=0.2, replan=30, seconds=4.5, seed=3)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smooth random policy on small pictures."""
    folder = tmp_path_factory.mktemp("smooth")
    write_random_checkpoint(folder / "c", "GWP-0.5", Sizes(layers=1), smooth=True)
    loaded = load_checkpoint(CheckpointPaths.in_directory(folder / "c"))
    options = ExportOptions(view_width=64, view_height=64, prompt_length=8, steps=(4,))
    export_bundle(loaded, {"p": folder / "c" / PROMPT}, folder / "b", options)
    return folder / "b"


@pytest.fixture(scope="module")
def policy(bundle: Path) -> Policy:
    return Policy.load(bundle)


def scene(policy: Policy, golden: Path) -> Scene:
    return bench_handover._recorded_scene(policy, golden / "io.safetensors")


def test_on_recorded_observations_the_seam_is_smaller_and_the_chunk_another(
    exported: Callable[..., Path], golden: Path
) -> None:
    """The recordings of upstream's own implementation; the networks are random, and ask for noise."""
    policy = Policy.load(exported(golden.name), steps=4)
    pairs = list(recorded(policy, scene(policy, golden), ExecutionConfig().guidance, TIMING))
    assert len(pairs) == 5
    for off, on, changed in pairs:
        assert on[0] < 0.05 * off[0], "position"
        assert on[1] < 0.5 * off[1], "velocity"
        assert changed > 0.1
    again = list(recorded(policy, scene(policy, golden), ExecutionConfig().guidance, TIMING))
    assert again == pairs


def test_without_guidance_the_chunk_is_bit_identical(exported: Callable[..., Path], golden: Path) -> None:
    policy = Policy.load(exported(golden.name), steps=4)
    for off, on, changed in recorded(policy, scene(policy, golden), 0.0, TIMING):
        assert off == on
        assert changed == 0.0


def test_a_smooth_policy_joins_in_position_velocity_and_acceleration(policy: Policy, golden: Path) -> None:
    offs, ons, changes = zip(*recorded(policy, scene(policy, golden), 100.0, TIMING), strict=True)
    off, on = np.median(offs, axis=0), np.median(ons, axis=0)
    assert on[0] < 0.05 * off[0]
    assert on[1] < off[1]
    assert 0 < np.mean(changes) < 0.1


def test_the_cell_tells_the_ways_apart_and_repeats_itself(policy: Policy, golden: Path) -> None:
    def run(**settings: object) -> dict[str, float]:
        execution = ExecutionConfig(**settings)  # type: ignore[arg-type]
        return closed_loop(policy, scene(policy, golden), execution, TIMING).figures()

    bare, faded, rtc = run(handover="none"), run(handover="crossfade"), run(handover="rtc")
    assert run(handover="rtc") == rtc
    assert bare["hand-overs"] == rtc["hand-overs"] >= 4
    assert bare["from intent rms rad"] == 0.0
    assert faded["command jerk rms rad/s3"] < 0.2 * bare["command jerk rms rad/s3"]
    assert rtc["seam position p95 rad"] < 0.2 * faded["seam position p50 rad"]
    assert rtc["from intent rms rad"] < 0.6 * faded["from intent rms rad"]
    assert (bare["changed rms rad"], rtc["changed rms rad"] > 0) == (0.0, True)


def test_what_hands_over_softly_takes_no_leap(policy: Policy, golden: Path) -> None:
    def leap(handover: str) -> float:
        execution = ExecutionConfig(handover=handover)  # type: ignore[arg-type]
        targets = closed_loop(policy, scene(policy, golden), execution, TIMING).targets
        return float(np.abs(np.diff(np.array(targets)[:, JOINTS], axis=0)).max())

    bare = leap("none")
    for handover in ("crossfade", "ensemble", "rtc"):
        assert leap(handover) < 0.5 * bare, handover


def test_it_reads_a_dataset_and_writes_what_it_prints(bundle: Path, tmp_path: Path) -> None:
    DatasetWriter(tmp_path / "d", lengths=(80,)).write()
    app = typer.Typer()
    app.command()(bench_handover.main)
    arguments = [
        str(bundle),
        "--dataset",
        str(tmp_path / "d"),
        "--seconds",
        "5",
        "--json",
        str(tmp_path / "r.json"),
    ]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    (found,) = json.loads((tmp_path / "r.json").read_text())["results"]
    assert found["scene"] == "episode 0"
    assert found["simulated"].keys() == bench_handover.MODES.keys()
    assert found["recorded"]["on p50 rad"] < 0.2 * found["recorded"]["off p50 rad"]
    assert all(f"| {name} |" in result.output for name in bench_handover.MODES)


def test_recorded_states_re_anchor_the_chunk_before(policy: Policy, golden: Path) -> None:
    """The arms did not go where the chunk before sent them, as on a demonstration: its absolute targets still bind."""
    here = scene(policy, golden)
    first = policy.chunk(Observation(here.picture(0, here.start.astype(float)), here.start, None)).actions
    before = Trajectory(first, 0.0, 30.0)
    elsewhere = here.start + np.float32(0.05)
    guidance = guide(before, 0.8, 0.2, 48, 30.0, 100.0)
    chunk = policy.chunk(
        Observation(here.picture(0.8, elsewhere.astype(float)), elsewhere), guidance=guidance
    ).actions
    frozen = 7
    expected = [before.position(0.8 + k / 30, np.zeros(14)) for k in range(frozen)]
    np.testing.assert_allclose(chunk[:frozen, :6], np.array(expected)[:, :6], atol=0.01)
