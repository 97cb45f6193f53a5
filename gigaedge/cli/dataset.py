"""`gigaedge norm-stats` and `openloop`: what recorded demonstrations are for."""

from __future__ import annotations

import json as json_module
import math
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import gigaedge
from gigaedge.cli.common import (
    BundleArgument,
    ForceOption,
    HtmlOption,
    JsonOption,
    ProviderOption,
    ReportOption,
    SeedOption,
    SolverOption,
    StepsOption,
    needs,
    print_json,
    print_notices,
    print_table,
    progress,
)
from gigaedge.errors import InputError
from gigaedge.robot import DIM_NAMES, ROBOT_DIM

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gigaedge.lerobot import Dataset, Episode
    from gigaedge.openloop import Report, Rollout
    from gigaedge_runtime.policy import Policy


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("norm-stats", epilog="Example: `gigaedge norm-stats bowl plate --out norm_stats.json`")(
        norm_stats_command
    )
    app.command(
        "openloop", epilog="Example: `gigaedge openloop bundle bowl --episodes 0,1 --html openloop.html`"
    )(openloop_command)


def norm_stats_command(
    dataset: Annotated[
        list[Path], typer.Argument(help="LeRobot v3 datasets, taken together.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="norm_stats.json to write.", show_default=False)],
    chunk: Annotated[int, typer.Option(help="Actions per chunk.", min=1)] = 48,
    width: Annotated[
        int, typer.Option(help="Values per row; what the robot lacks is zero.", min=ROBOT_DIM)
    ] = 32,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Compute the statistics that training and export normalise states and actions with. Quantiles are exact."""
    from gigaedge.files import require_free
    from gigaedge.norm_stats import document, norm_stats, notices

    require_free(out, replace=force)
    with ExitStack() as stack:
        opened = [stack.enter_context(open_dataset(path, cameras=False)) for path in dataset]
        for other in opened[1:]:
            if other.fps != opened[0].fps:
                raise InputError(
                    f"{other.root} has {other.fps:g} frames per second, {opened[0].root} has {opened[0].fps:g}: "
                    f"{chunk} frames would be different times; compute them one by one"
                )
        episodes = [episode for one in opened for episode in one.episodes]
        with progress(len(episodes) + len(DIM_NAMES), quiet=json) as begin:
            motions = []
            for episode in episodes:
                begin(f"{episode.dataset.root.name}: episode {episode.index}")
                motions.append(episode.motion())
            stats = norm_stats(motions, chunk, begin)
        print_notices([*(notice for one in opened for notice in one.notices), *notices(stats)])
    metadata = {
        "gigaedge": gigaedge.__version__,
        "datasets": [str(path) for path in dataset],
        "episodes": len(episodes),
        "frames": sum(episode.length for episode in episodes),
        "fps": opened[0].fps,
        "chunk": chunk,
    }
    content = document(stats, width, metadata)
    write_json(out, content)
    if json:
        print_json({"out": str(out), **content})
    else:
        typer.echo(f"{out}: {metadata['episodes']} episodes, {metadata['frames']} frames, chunks of {chunk}")


def openloop_command(
    bundle: BundleArgument,
    dataset: Annotated[Path, typer.Argument(help="A LeRobot v3 dataset.", show_default=False)],
    episodes: Annotated[
        str | None, typer.Option(help="Episodes, as in 0,1,7; default: all.", show_default=False)
    ] = None,
    max_episodes: Annotated[
        int | None, typer.Option(help="Only the first so many.", min=1, show_default=False)
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(help="Frames from chunk to chunk; default: the bundle's replan_after.", min=1),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Prompt of the bundle; wins over the dataset's embeddings.")
    ] = None,
    steps: StepsOption = None,
    solver: SolverOption = "euler",
    seed: SeedOption = 0,
    provider: ProviderOption = "cpu",
    html: HtmlOption = None,
    report: ReportOption = None,
    json: JsonOption = False,
) -> None:
    """Run the policy on recorded observations and compare its chunks with what the demonstrator did."""
    with needs("robot,dataset,cpu"):
        from gigaedge.bundle import read_manifest
        from gigaedge.openloop import evaluate
        from gigaedge_runtime.openloop import roll_out, starts
        from gigaedge_runtime.policy import Policy
    if html is not None:
        with needs("plots"):
            from gigaedge.cli.openloop_page import write_openloop_page
    with open_dataset(dataset, cameras=True) as opened, needs("robot,dataset,cpu"):
        chosen = choose_episodes(opened, episodes, max_episodes)
        action = read_manifest(bundle).action
        if not math.isclose(opened.fps, action.rate_hz, rel_tol=1e-3):
            raise InputError(
                f"{dataset} has {opened.fps:g} frames per second, {bundle} plays {action.rate_hz:g} actions per "
                f"second; if the policy was trained on this dataset, export it with --rate {opened.fps:g}"
            )
        policy = Policy.load(bundle, prompt=prompt, steps=steps, solver=solver, provider=provider)
        stride = stride or action.replan_after
        rollouts: list[Rollout] = []
        prompts = EpisodePrompts(policy, prompt)
        with progress(sum(len(starts(episode, stride)) for episode in chosen), quiet=json) as begin:
            for episode in chosen:
                prompts.use(episode)
                rollouts += roll_out(policy, episode, stride=stride, seed=seed, begin=begin)
    print_notices([*opened.notices, *prompts.notices])
    evaluation = evaluate(rollouts, stride)
    facts = {
        "bundle": str(bundle),
        "dataset": str(dataset),
        "steps": policy.schedule.steps,
        "solver": solver,
        "stride": stride,
        "seed": seed,
        "provider": provider,
    }
    content = {**facts, "prompts": prompts.used, **asdict(evaluation)}
    if report is not None:
        write_json(report, content)
    if html is not None:
        write_openloop_page(html, f"{bundle} on {dataset}", facts, evaluation, rollouts)
    if json:
        print_json(content)
    else:
        print_report(f"{bundle} on {dataset}", len(chosen), evaluation)


class EpisodePrompts:
    """The prompt of each episode: the named one, else the dataset's embedding, else the bundle's first."""

    def __init__(self, policy: Policy, fixed: str | None) -> None:
        self.used: dict[int, str] = {}
        """By episode: a prompt of the bundle, or the file of an embedding."""
        self.notices: list[str] = []
        self._policy = policy
        self._fixed = fixed
        self._default = fixed or policy.manifest.prompts.names[0]
        self._current = self._default

    def use(self, episode: Episode) -> None:
        """Prepare the policy for an episode. Raises CheckpointError for an unusable embedding."""
        path = None if self._fixed else episode.embedding()
        if path is not None:
            self._policy.set_prompt_embedding(self._read(path))
        elif self._current != self._default:
            self._policy.set_prompt(self._default)
        if path is None and not self._fixed and self._default not in self.used.values():
            self.notices.append(
                f"episode {episode.index} has no file in t5_embedding; "
                f"it, and others like it, were run with the bundle's prompt {self._default!r}"
            )
        self._current = self.used[episode.index] = self._default if path is None else str(path)

    def _read(self, path: Path) -> NDArray[np.float32]:
        from gigaedge.prompts import fit, read_embedding

        info = self._policy.manifest.prompts
        if path.suffix == ".safetensors":
            fitted, notice = fit(read_embedding(path), path, length=info.length, width=info.width)
            self.notices += [notice] if notice else []
            return fitted
        try:
            from gigaedge_export.prompts import load_prompt
        except ModuleNotFoundError as error:
            raise InputError(
                f"{path}: reading it needs {error.name}; run `pip install 'gigaedge[export]'` or pass --prompt NAME"
            ) from error
        embedding, notice = load_prompt(path, length=info.length, width=info.width)
        self.notices += [notice] if notice else []
        return embedding.numpy()


def open_dataset(path: Path, *, cameras: bool) -> Dataset:
    """Open a dataset; a missing package becomes one line."""
    with needs("dataset"):
        from gigaedge.lerobot import Dataset

        return Dataset(path, cameras=cameras)


def choose_episodes(dataset: Dataset, numbers: str | None, at_most: int | None) -> Sequence[Episode]:
    """The episodes of `--episodes` or `--max-episodes`, their files being there."""
    if numbers is not None and at_most is not None:
        raise InputError("--episodes and --max-episodes exclude each other; pass one of them")
    chosen = dataset.episodes[:at_most]
    if numbers is not None:
        if not re.fullmatch(r"\d+(,\d+)*", numbers):
            raise InputError(f"--episodes {numbers!r}: expected whole numbers as in 0,1,7")
        wanted = sorted({int(number) for number in numbers.split(",")})
        last = len(dataset.episodes) - 1
        if wanted[-1] > last:
            raise InputError(f"--episodes {numbers}: {dataset.root} has episodes 0 to {last}")
        chosen = tuple(dataset.episodes[number] for number in wanted)
    for episode in chosen:
        episode.require_files()
    return chosen


def print_report(title: str, episodes: int, report: Report) -> None:
    """The errors as a table, and upstream's figures in a line."""
    from gigaedge.openloop import ERROR_HEADER

    print_table(title, ERROR_HEADER, report.rows())
    typer.echo(f"compared {report.frames} frames (chunks: {len(report.chunks)}, episodes: {episodes})")
    if report.upstream is not None:
        up = report.upstream
        typer.echo(
            f"as upstream (rad and m mixed, {up.chunks} whole chunks): "
            f"MSE {up.chunk_mse:.6f}, MAE {up.chunk_mae:.6f}; "
            f"played part MSE {up.overall_mse:.6f}, MAE {up.overall_mae:.6f}"
        )


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file, whole or not at all."""
    from gigaedge.files import write_text

    write_text(path, json_module.dumps(content, indent=1, allow_nan=False) + "\n")
