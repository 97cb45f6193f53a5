"""`gigaedge imagine`: what the policy expects to see, beside what then happened."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gigaedge.cli.common import (
    BundleArgument,
    ForceOption,
    JsonOption,
    ProviderOption,
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

if TYPE_CHECKING:
    from gigaedge.cli.imagine_input import Moment


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command(
        "imagine",
        epilog="Example: `gigaedge imagine bundle --actual bowl --episode 3 --frame 60 --out imagined.mp4`",
    )(imagine_command)


def imagine_command(
    bundle: BundleArgument,
    observation: Annotated[
        Path | None,
        typer.Argument(
            help="safetensors as `infer` reads it; may be left out where --actual is a dataset.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="MP4 to write.")] = Path("imagined.mp4"),
    actual: Annotated[
        Path | None,
        typer.Option(
            help="What then happened: a LeRobot v3 dataset, or a safetensors with image.cam_high, "
            "image.cam_left_wrist, image.cam_right_wrist (frames, height, width, 3).",
            show_default=False,
        ),
    ] = None,
    episode: Annotated[
        int | None, typer.Option(help="Episode of the dataset.", min=0, show_default=False)
    ] = None,
    frame: Annotated[
        int | None,
        typer.Option(help="Frame of the episode that is the observation.", min=0, show_default=False),
    ] = None,
    prompt: Annotated[
        str | None, typer.Option(help="Prompt of the bundle; wins over the observation's.")
    ] = None,
    steps: StepsOption = None,
    solver: SolverOption = "euler",
    seed: SeedOption = 0,
    provider: ProviderOption = "cpu",
    report: Annotated[Path | None, typer.Option(help="HTML page to write.", show_default=False)] = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Write what the policy expects to see after an observation, if its actions are played: a frame every 12 actions.

    With --actual, beside what then happened, and how alike they are: PSNR and SSIM of every frame, beside those of
    the observation's own picture, which is what one who expects no change would say. The bundle needs --video.
    """
    if out.suffix != ".mp4":
        raise InputError(f"--out {out}: expected a name that ends in .mp4")
    with needs("robot,dataset,cpu"):
        import av  # noqa: F401  the video needs it; that it is missing is said before anything is computed

        from gigaedge.cli.imagine_input import read_moment
        from gigaedge.cli.imagine_story import HEADER, Story, write_mp4
        from gigaedge.files import require_free
        from gigaedge_runtime.imagine import Imagination
        from gigaedge_runtime.policy import Observation, Policy
    if report is not None:
        with needs("plots"):
            from gigaedge.cli.imagine_page import write_imagine_page
    require_free(out, replace=force)
    where = _moment(actual, episode, frame)
    policy = Policy.load(bundle, prompt=prompt, steps=steps, solver=solver, provider=provider, seed=seed)
    imagination = Imagination(policy, seed=seed)
    ahead = imagination.seconds[1:]
    with progress(3, quiet=json) as begin:
        begin("reading")
        recorded, notices = read_moment(policy, ahead, observation, where, prompt)
        if where is not None and not any(picture is not None for picture in recorded.after):
            notices.append(
                f"nothing was recorded within {ahead[-1]:g} s of the observation: nothing is compared"
            )
        begin("imagining")
        observed = Observation(recorded.composite, recorded.state, recorded.noise)
        story = Story.of(imagination.imagine(observed), recorded)
        begin("writing")
        write_mp4(out, story)
        if report is not None:
            facts = {
                "bundle": str(bundle),
                "observation": str(observation or "the frame of the dataset"),
                "actual": str(where or "not given"),
                "steps": f"{policy.schedule.steps} {solver}",
                "seed": str(seed),
            }
            write_imagine_page(report, f"What {bundle} expects to see", facts, story)
    print_notices(notices)
    timings = story.imagined.chunk.timings | story.imagined.timings
    milliseconds = {stage: seconds * 1e3 for stage, seconds in timings.items()}
    if json:
        print_json(
            {
                "out": str(out),
                "bundle": str(bundle),
                "seconds": ahead,
                "kept": asdict(story.kept),
                "frames": [asdict(row) for row in story.comparisons],
                "milliseconds": milliseconds,
            }
        )
        return
    if story.comparisons:
        print_table(str(out), HEADER, story.rows())
    times = ", ".join(f"{seconds:g}" for seconds in ahead)
    stages = ", ".join(f"{stage} {value:.1f} ms" for stage, value in milliseconds.items())
    typer.echo(f"{out}: expected {times} s ahead; {stages}")


def _moment(actual: Path | None, episode: int | None, frame: int | None) -> Path | Moment | None:
    """What --actual and its companions name. Raises InputError where they do not go together."""
    from gigaedge.cli.imagine_input import Moment

    if actual is not None and actual.is_dir():
        if episode is None or frame is None:
            raise InputError(f"--actual {actual}: a dataset needs --episode and --frame, too")
        return Moment(actual, episode, frame)
    if episode is not None or frame is not None:
        raise InputError("--episode and --frame say where in a dataset; pass --actual DATASET with them")
    return actual
