"""`norm-stats` and `openloop` as a person calls them, on real datasets and real bundles."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gigaedge.bundle import read_manifest
from gigaedge.compose import Compositor
from gigaedge.files import read_tensors, write_tensors
from gigaedge.robot import CAMERA_ROLES, DIM_NAMES
from gigaedge_export.checkpoint import load_norm_stats
from gigaedge_runtime.policy import Observation, Policy
from tests.command_line import fails, succeeds
from tests.lerobot_writer import DatasetWriter, read_video


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> DatasetWriter:
    return DatasetWriter(tmp_path_factory.mktemp("dataset"), lengths=(70, 31, 55)).write()


@pytest.fixture
def writer(tmp_path: Path) -> DatasetWriter:
    return DatasetWriter(tmp_path / "dataset", lengths=(20, 21)).write()


@pytest.fixture
def bundle(exported: Callable[..., Path]) -> Path:
    return exported("gwp05-tiny")


@pytest.fixture
def checkpoint() -> Path:
    return Path(__file__).parents[1] / "golden" / "gwp05-tiny"


def test_both_explain_themselves() -> None:
    for command in ("norm-stats", "openloop"):
        assert "Example" in succeeds(command, "--help").stdout


def test_norm_stats_are_what_an_export_reads(
    written: DatasetWriter, checkpoint: Path, tmp_path: Path
) -> None:
    out, bundle = tmp_path / "norm_stats.json", tmp_path / "bundle"
    result = succeeds("norm-stats", written.root, "--out", out)
    assert "3 episodes, 156 frames, chunks of 48" in result.stdout
    assert result.stderr == ""
    stats = load_norm_stats(out)
    states = np.concatenate(written.states)
    np.testing.assert_allclose(stats.state_q01, np.quantile(states, 0.01, axis=0), rtol=1e-5, atol=1e-6)
    assert json.loads(out.read_text())["metadata"]["frames"] == 156
    recording = checkpoint / "io.safetensors"
    succeeds(
        *("export", "--checkpoint", checkpoint, "--norm-stats", out, "--prompt", f"t={recording}"),
        *("--out", bundle, "--steps", 1, "--no-verify"),
    )
    assert read_manifest(bundle).action.q99 == pytest.approx(stats.action_q99)


def test_norm_stats_options(written: DatasetWriter, writer: DatasetWriter, tmp_path: Path) -> None:
    out = tmp_path / "norm_stats.json"
    arguments = ("norm-stats", written.root, writer.root, "--out", out)
    result = json.loads(succeeds(*arguments, "--chunk", 2, "--width", 16, "--json").stdout)
    assert result["metadata"]["episodes"] == 5
    assert {len(row) for rows in result["norm_stats"].values() for row in rows.values()} == {16}
    assert result["norm_stats"] == json.loads(out.read_text())["norm_stats"]
    deltas = [
        writer_.actions[e][min(i + h, len(states) - 1), 3] - states[i, 3]
        for writer_ in (written, writer)
        for e, states in enumerate(writer_.states)
        for i in range(len(states))
        for h in range(2)
    ]
    action = result["norm_stats"]["action"]
    assert action["q99"][3] == pytest.approx(np.quantile(deltas, 0.99), rel=1e-5)
    assert action["std"][3] == pytest.approx(np.std(deltas), rel=1e-5)
    before = out.read_bytes()
    fails("exists already", *arguments)
    assert out.read_bytes() == before
    succeeds(*arguments, "--force")
    assert out.read_bytes() != before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_norm_stats_notices(writer: DatasetWriter, tmp_path: Path) -> None:
    for values in (writer.states, writer.actions):
        for episode in values:
            episode[:, 6] = 0.05
    writer.write_data()
    writer.names = None
    writer.write_info()
    result = succeeds("norm-stats", writer.root, "--out", tmp_path / "n.json")
    notes = result.stderr.splitlines()
    assert len(notes) == 4
    assert "the names of observation.state do not tell the order" in notes[0]
    assert "observation.state left_gripper does not vary" in notes[2]


def test_norm_stats_of_bad_datasets(writer: DatasetWriter, tmp_path: Path) -> None:
    out = tmp_path / "n.json"
    other = DatasetWriter(tmp_path / "other", lengths=(5, 6), fps=15).write()
    fails("would be different times", "norm-stats", writer.root, other.root, "--out", out)
    fails("no LeRobot dataset here", "norm-stats", tmp_path / "none", "--out", out)
    writer.states[0][4, 9] = np.nan
    writer.write_data()
    fails("frame 4: observation.state right_joint_3 is nan", "norm-stats", writer.root, "--out", out)
    writer.write_data(without="action")
    fails("column action is missing", "norm-stats", writer.root, "--out", out)
    writer.write_info(codebase_version="v2.1")
    fails("convert_dataset_v21_to_v30", "norm-stats", writer.root, "--out", out)
    assert not out.exists()


def test_openloop_is_the_policy_on_recorded_frames(
    written: DatasetWriter, bundle: Path, tmp_path: Path
) -> None:
    """Every figure against chunks of our own, from pictures that another pass over the videos brought."""
    out, html = tmp_path / "o.json", tmp_path / "o.html"
    result = succeeds(
        *("openloop", bundle, written.root, "--episodes", "1,0", "--steps", 4, "--stride", 25, "--seed", 7),
        *("--report", out, "--html", html, "--json"),
    )
    report = json.loads(result.stdout)
    assert report == json.loads(out.read_text())
    assert "the bundle's prompt 'task'" in result.stderr
    assert report["prompts"] == {"0": "task", "1": "task"}
    assert [(c["episode"], c["start"], c["frames"]) for c in report["chunks"]] == [
        *((0, 0, 48), (0, 25, 45), (0, 50, 20), (1, 0, 31), (1, 25, 6))
    ]
    policy = Policy.load(bundle, steps=4)
    compositor = Compositor((320, 384))
    errors = []
    for chunk in report["chunks"]:
        episode, start = chunk["episode"], chunk["start"]
        frame = start + (70 if episode == 1 else 0)
        views = {
            role: read_video(written.root / f"videos/observation.images.{role}/chunk-000/file-000.mp4")[frame]
            for role in CAMERA_ROLES
        }
        noise = np.random.default_rng((7, episode, start)).standard_normal((48, 32), np.float32)
        state = written.states[episode][start]
        predicted = policy.chunk(Observation(compositor.compose(views), state, noise)).actions
        recorded = written.actions[episode][start : start + 48]
        errors.append(predicted[: len(recorded)] - recorded)
        joints = np.degrees(np.delete(errors[-1], [6, 13], axis=1))
        assert chunk["joints"]["mean_abs"] == pytest.approx(np.abs(joints).mean(), rel=1e-4)
    every = np.concatenate(errors)
    assert [row["name"] for row in report["dimensions"]] == list(DIM_NAMES)
    for dim, row in enumerate(report["dimensions"]):
        size = np.abs(every[:, dim]) * (1e3 if row["unit"] == "mm" else 180 / np.pi)
        assert row["worst"] == pytest.approx(size.max(), rel=1e-4)
        assert row["p95"] == pytest.approx(np.percentile(size, 95), rel=1e-4)
    assert report["upstream"]["chunks"] == 1
    assert report["upstream"]["chunk_mse"] == pytest.approx(np.square(errors[0]).mean(), rel=1e-4)
    page = html.read_text()
    assert page.count("<svg") == 3
    assert "Episode 1: recorded targets" in page


def test_openloop_repeats_itself(written: DatasetWriter, bundle: Path) -> None:
    base = ("openloop", bundle, written.root, "--steps", 4, "--json")
    alone = json.loads(succeeds(*base, "--episodes", 1).stdout)
    two = json.loads(succeeds(*base, "--max-episodes", 2).stdout)
    assert alone["stride"] == 30
    assert [chunk for chunk in two["chunks"] if chunk["episode"] == 1] == alone["chunks"]
    other = json.loads(succeeds(*base, "--episodes", 1, "--seed", 1).stdout)
    assert other["joints"] != alone["joints"]


def test_the_embedding_of_an_episode_wins_unless_a_prompt_is_named(
    writer: DatasetWriter, bundle: Path
) -> None:
    manifest = read_manifest(bundle)
    embedding = read_tensors(bundle / manifest.prompts.file)["task"]
    path = writer.root / "t5_embedding" / "episode_000001.pt"
    path.parent.mkdir()
    torch.save(torch.from_numpy(embedding + 1).bfloat16(), path)
    write_tensors(path.with_name("episode_000000.safetensors"), {"t5_embedding": embedding + 2})
    base = ("openloop", bundle, writer.root, "--steps", 4, "--json")
    found, named = succeeds(*base), succeeds(*base, "--prompt", "task")
    assert found.stderr == named.stderr == ""
    own, fixed = json.loads(found.stdout), json.loads(named.stdout)
    assert own["prompts"] == {"0": str(path.with_name("episode_000000.safetensors")), "1": str(path)}
    assert fixed["prompts"] == {"0": "task", "1": "task"}
    for mine, other in zip(own["chunks"], fixed["chunks"], strict=True):
        assert mine["joints"] != other["joints"]


def test_an_episode_without_an_embedding_has_the_bundles_prompt(writer: DatasetWriter, bundle: Path) -> None:
    found = succeeds("openloop", bundle, writer.root, "--steps", 4, "--max-episodes", 1, "--json")
    assert "episode 0 has no file in t5_embedding" in found.stderr
    assert json.loads(found.stdout)["prompts"] == {"0": "task"}


def test_openloop_table(writer: DatasetWriter, bundle: Path) -> None:
    text = succeeds("openloop", bundle, writer.root, "--steps", 4, "--max-episodes", 1).stdout
    assert "left_gripper" in text
    assert "compared 20 frames (chunks: 1, episodes: 1)" in text


def test_bad_openloops(writer: DatasetWriter, bundle: Path, tmp_path: Path) -> None:
    base = ("openloop", bundle, writer.root)
    fails("has episodes 0 to 1", *base, "--episodes", "0,7")
    fails("expected whole numbers", *base, "--episodes", "all")
    fails("exclude each other", *base, "--episodes", 0, "--max-episodes", 1)
    fails("table for 7 steps", *base, "--steps", 7)
    fails("no prompt 'dance'", *base, "--prompt", "dance")
    other = DatasetWriter(tmp_path / "other", lengths=(5, 6), fps=15).write()
    fails("export it with --rate 15", "openloop", bundle, other.root)
    shutil.rmtree(writer.root / "videos/observation.images.cam_right_wrist")
    fails("file-000.mp4: no such file", *base)
    writer.write_info(codebase_version="v2.1")
    fails("convert_dataset_v21_to_v30", *base)
