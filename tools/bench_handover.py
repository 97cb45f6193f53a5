"""Compare the ways in which one chunk can hand over to the next, and print the table that chose the default.

    python tools/bench_handover.py                              # golden recordings and two random policies
    python tools/bench_handover.py BUNDLE --dataset DATASET     # a policy on a LeRobot v3 dataset
    python tools/bench_handover.py BUNDLE --observation OBS.safetensors

Two parts. On recorded observations: the seam between two chunks with and without real-time chunking. In a simulated
cell (`handover_cell.py`, fake time): every way of `execution.handover`. All seams are those of the bare chunks, before
any fade; the other columns are of the targets that the limits would get.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from gigaedge.cli.observations import read_observation
from gigaedge.compose import Compositor
from gigaedge.errors import InputError
from gigaedge.files import write_text
from gigaedge.lerobot import Dataset, Episode
from gigaedge.robot import CAMERA_ROLES
from gigaedge.site import ExecutionConfig
from gigaedge_runtime.policy import Policy
from handover_cell import Scene, Timing, closed_loop, recorded

ROOT = Path(__file__).parent.parent
GOLDEN = ("gwp0-tiny", "gwp05-tiny")
MODES = {
    "none": ExecutionConfig(handover="none"),
    "crossfade 0.15 s": ExecutionConfig(handover="crossfade"),
    "crossfade 0.3 s": ExecutionConfig(handover="crossfade", crossfade=0.3),
    "ensemble m=0.01": ExecutionConfig(handover="ensemble", ensemble_decay=0.01),
    "ensemble m=1": ExecutionConfig(handover="ensemble", ensemble_decay=1.0),
    "rtc 5, no fade": ExecutionConfig(guidance=5.0, crossfade=0.0),
    "rtc 5, 0.15 s": ExecutionConfig(guidance=5.0),
    "rtc, no fade": ExecutionConfig(crossfade=0.0),
    "rtc, 0.05 s": ExecutionConfig(crossfade=0.05),
    "rtc, 0.15 s": ExecutionConfig(crossfade=0.15),
    "rtc, 0.3 s": ExecutionConfig(crossfade=0.3),
}
SHIFT = 40.0
"""Pixels by which the picture moves per rad of the arms' mean angle: what a camera on the arm would see."""


def main(
    bundles: Annotated[
        list[Path] | None, typer.Argument(help="Bundles; default: tiny ones made here.")
    ] = None,
    observation: Annotated[
        list[Path] | None, typer.Option(help="Recorded observations (.safetensors).")
    ] = None,
    dataset: Annotated[Path | None, typer.Option(help="A LeRobot v3 dataset.")] = None,
    episodes: Annotated[int, typer.Option(help="Episodes of it.", min=1)] = 3,
    delay: Annotated[float, typer.Option(help="Of inference, s.", min=0.01)] = 0.2,
    late: Annotated[float, typer.Option(help="By how much every fifth chunk is late, s.", min=0.0)] = 0.0,
    replan: Annotated[int, typer.Option(help="Actions until the next chunk takes over.", min=1)] = 30,
    seconds: Annotated[float, typer.Option(help="Length of a simulated run.", min=5.0)] = 30.0,
    seed: Annotated[int, typer.Option(help="Of noise and delays.")] = 0,
    report: Annotated[Path | None, typer.Option("--json", help="Write everything as JSON.")] = None,
) -> None:
    """Measure seams, smoothness and faithfulness of every way of handing over."""
    timing = Timing(delay, replan, seconds, seed, late)
    results: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        for bundle, files in _cases(bundles, observation, folder):
            policy = Policy.load(bundle)
            scenes = [_recorded_scene(policy, file) for file in files]
            if dataset is not None:
                opened = stack.enter_context(Dataset(dataset, cameras=True))
                scenes = [_episode_scene(policy, episode) for episode in opened.episodes[:episodes]]
            for scene in scenes:
                typer.echo(f"\n{bundle.name} on {scene.name}: {delay:g} s delay, replanned after {replan}")
                result = _measure(policy, scene, timing)
                results.append({"bundle": bundle.name, "scene": scene.name, **asdict(timing), **result})
    if report is not None:
        write_text(report, json.dumps({"results": results}, indent=2) + "\n")


def _measure(policy: Policy, scene: Scene, timing: Timing) -> dict[str, Any]:
    pairs = list(recorded(policy, scene, ExecutionConfig().guidance, timing))
    if not pairs:
        raise InputError(f"{scene.name}: {scene.duration:.1f} s hold no hand-over; choose a smaller --replan")
    offs, ons, changes = zip(*pairs, strict=True)
    part: dict[str, Any] = {"pairs": len(offs), "changed rms rad": float(np.mean(changes))}
    for name, jumps in (("off", offs), ("on", ons)):
        for column, unit in enumerate(("rad", "rad/s", "rad/s2")):
            values = [jump[column] for jump in jumps]
            part[f"{name} p50 {unit}"], part[f"{name} p95 {unit}"] = map(
                float, np.percentile(values, (50, 95))
            )
    typer.echo(
        f"recorded observations, {len(offs)} hand-overs; rtc changes a chunk by {part['changed rms rad']:.3f} rad"
    )
    _print_table(
        {
            name: {k[len(name) + 1 :]: v for k, v in part.items() if k.startswith(f"{name} ")}
            for name in ("off", "on")
        }
    )
    simulated = {name: closed_loop(policy, scene, mode, timing).figures() for name, mode in MODES.items()}
    typer.echo("simulated cell")
    _print_table(simulated)
    return {"recorded": part, "simulated": simulated}


def _print_table(rows: dict[str, dict[str, float]]) -> None:
    columns = list(next(iter(rows.values())))
    typer.echo("| way | " + " | ".join(columns) + " |")
    typer.echo("|---" * (len(columns) + 1) + "|")
    for name, row in rows.items():
        typer.echo(f"| {name} | " + " | ".join(f"{row[column]:.3g}" for column in columns) + " |")


def _cases(
    bundles: list[Path] | None, observations: list[Path] | None, folder: Path
) -> Iterator[tuple[Path, list[Path]]]:
    """Bundles with the observations to run them on."""
    golden = [ROOT / "tests" / "golden" / name / "io.safetensors" for name in GOLDEN]
    if bundles:
        yield from ((bundle, observations or golden[:1]) for bundle in bundles)
        return
    from gigaedge_export.checkpoint import CheckpointPaths, load_checkpoint
    from gigaedge_export.export import ExportOptions, export_bundle
    from gigaedge_export.random_checkpoint import PROMPT, Sizes, write_random_checkpoint

    for name, file in zip(GOLDEN, golden, strict=True):
        loaded = load_checkpoint(CheckpointPaths.in_directory(file.parent))
        export_bundle(loaded, {"task": file}, folder / name, ExportOptions())
        yield folder / name, observations or [file]
    for generation in ("GWP-0", "GWP-0.5"):
        checkpoint, out = folder / f"{generation}-checkpoint", folder / f"{generation}-random-smooth"
        write_random_checkpoint(checkpoint, generation, Sizes(), smooth=True)
        loaded = load_checkpoint(CheckpointPaths.in_directory(checkpoint))
        export_bundle(loaded, {"task": checkpoint / PROMPT}, out, ExportOptions())
        yield out, observations or golden[:1]


def _recorded_scene(policy: Policy, file: Path) -> Scene:
    """One recorded picture that moves with the arms, which begin in the middle of the statistics."""
    seen, info = read_observation(file), policy.manifest.state
    composite = seen.compose(policy.manifest.view)
    start = ((np.array(info.q01) + np.array(info.q99)) / 2).astype(np.float32)

    def picture(time: float, state: NDArray[np.float64]) -> NDArray[np.uint8]:
        return np.roll(composite, round(SHIFT * float(state.mean())), axis=1)

    return Scene(f"{file.parent.name}/{file.name}", start, picture)


def _episode_scene(policy: Policy, episode: Episode) -> Scene:
    """An episode's pictures and states by time."""
    motion, view = episode.motion(), policy.manifest.view
    rate, last = policy.manifest.action.rate_hz, episode.length - 1
    compositor = Compositor((view.width, view.height), view.layout)

    def frame(time: float) -> int:
        return min(round(time * rate), last)

    def picture(time: float, state: NDArray[np.float64]) -> NDArray[np.uint8]:
        return compositor.compose({role: episode.frame(role, frame(time)) for role in CAMERA_ROLES})

    return Scene(
        f"episode {episode.index}",
        motion.states[0],
        picture,
        state=lambda time: motion.states[frame(time)],
        duration=last / rate,
    )


if __name__ == "__main__":
    typer.run(main)
