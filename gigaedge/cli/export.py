"""`gigaedge export`: checkpoint -> bundle."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gigaedge.cli.common import (
    ForceOption,
    JsonOption,
    needs,
    parse_pair,
    print_json,
    print_notices,
    progress,
)
from gigaedge.errors import InputError

if TYPE_CHECKING:
    from gigaedge.bundle import Manifest
    from gigaedge_export.export import ExportOptions, LoadedCheckpoint

EXPORT_STEPS = 8
"""Lines of progress an export with verification reports."""


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("export", epilog=_EXAMPLE)(export_command)


_EXAMPLE = "Example: `gigaedge export --checkpoint ckpt --prompt bowl=bowl.pt --steps 10,5 --out bundle`"


def export_command(
    checkpoint: Annotated[
        Path, typer.Option(help="Folder with transformer/, vae/ and norm_stats.json.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Bundle folder to write.", show_default=False)],
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FILE, a .pt or .safetensors umT5 embedding; may be repeated.", show_default=False
        ),
    ] = None,
    transformer: Annotated[Path | None, typer.Option(help="Transformer folder elsewhere.")] = None,
    vae: Annotated[Path | None, typer.Option(help="VAE folder elsewhere.")] = None,
    norm_stats: Annotated[Path | None, typer.Option(help="norm_stats.json elsewhere.")] = None,
    steps: Annotated[str, typer.Option(help="Sampler steps; several, as in 10,5, share the weights.")] = "10",
    chunk: Annotated[int, typer.Option(help="Actions per chunk.", min=1)] = 48,
    rate: Annotated[float, typer.Option(help="Actions per second, the dataset's rate.", min=0.1)] = 30.0,
    view_size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the composite, px.")] = "320x384",
    view_layout: Annotated[
        Literal["tshape", "horizontal"], typer.Option(help="How the three views are put together.")
    ] = ("tshape"),
    prompt_length: Annotated[int, typer.Option(help="Prompt tokens; longer is cut.", min=1)] = 64,
    shift: Annotated[float, typer.Option(help="Shift of the flow schedule.", min=0.01)] = 5.0,
    timesteps: Annotated[
        Literal["bf16", "exact"],
        typer.Option(help="bf16 rounds them as in upstream's training; exact does not."),
    ] = "bf16",
    precision: Annotated[Literal["fp32"], typer.Option(help="Storage of the weights.")] = "fp32",
    layout: Annotated[
        Literal["split", "single"],
        typer.Option(help="split: a graph per stage, fastest; single: one graph that any program can call."),
    ] = "split",
    opset: Annotated[
        int, typer.Option(help="ONNX opset; 20 for TensorRT before 10.14.", min=20, max=23)
    ] = 23,
    verify: Annotated[
        bool, typer.Option(help="Compare the bundle with PyTorch before it is put in place.")
    ] = True,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Export a trained checkpoint to ONNX: trace, fold what is constant, verify against PyTorch, write a bundle."""
    with needs("export,cpu"):
        from gigaedge.bundle import open_bundle
        from gigaedge_export.checkpoint import CheckpointPaths
        from gigaedge_export.export import ExportOptions, load_checkpoint
    width, height = parse_size(view_size)
    options = ExportOptions(
        steps=parse_steps(steps),
        chunk=chunk,
        view_width=width,
        view_height=height,
        view_layout=view_layout,
        prompt_length=prompt_length,
        shift=shift,
        timesteps=timesteps,
        rate_hz=rate,
        opset=opset,
        layout=layout,
    )
    prompts: dict[str, Path] = {}
    for item in prompt or []:
        name, value = parse_pair(item, "--prompt")
        if name in prompts:
            raise InputError(f"--prompt {name}: given twice; prompt names must differ")
        prompts[name] = Path(value)
    paths = CheckpointPaths.in_directory(checkpoint, transformer, vae, norm_stats)
    with progress(EXPORT_STEPS, quiet=json) as begin:
        loaded = load_checkpoint(paths, begin)
        notices = write_bundle(loaded, prompts, out, options, verify=verify, force=force, begin=begin)
    print_notices(notices)
    manifest = open_bundle(out).manifest
    if json:
        print_json({"bundle": str(out), **manifest.model_dump(mode="json", by_alias=True)})
    else:
        typer.echo(describe(out, manifest))


def write_bundle(
    loaded: LoadedCheckpoint,
    prompts: dict[str, Path],
    out: Path,
    options: ExportOptions,
    *,
    verify: bool,
    force: bool,
    begin: Callable[[str], None],
) -> list[str]:
    """Export; with `verify`, run the graphs against PyTorch first and keep nothing that disagrees."""
    with needs("export,cpu"):
        from gigaedge.cli import proof
        from gigaedge_export.export import export_bundle
    return export_bundle(
        loaded,
        prompts,
        out,
        options,
        replace=force,
        progress=begin,
        prove=(lambda folder: proof.prove(folder, loaded)) if verify else None,
    )


def describe(path: Path, manifest: Manifest) -> str:
    """A bundle in one line."""
    size = sum(info.bytes for info in manifest.files()) / 1e6
    steps = ",".join(
        str(schedule.steps) for schedule in manifest.sampler.schedules if schedule.solver == "euler"
    )
    proof = "not verified"
    if manifest.fidelity is not None:
        proof = f"verified against {manifest.fidelity.reference}: " + ", ".join(
            f"{row.stage.split(' ')[0]} {row.relative_l2:.1e}" for row in manifest.fidelity.stages
        )
    return (
        f"{path}: {manifest.model.generation}, {manifest.model.parameters / 1e6:.2f} M weights, "
        f"{manifest.precision.recipe}, {size:.1f} MB, steps {steps}; {proof}"
    )


def parse_steps(text: str) -> tuple[int, ...]:
    """`10` or `10,5,4`."""
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise InputError(f"--steps {text!r}: expected whole numbers as in 10 or 10,5,4")
    steps = tuple(int(part) for part in text.split(","))
    if min(steps) < 1 or len(set(steps)) != len(steps):
        raise InputError(f"--steps {text!r}: step counts must be at least 1 and differ")
    return steps


def parse_size(text: str) -> tuple[int, int]:
    """`320x384` -> (320, 384)."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise InputError(f"--view-size {text!r}: expected WIDTHxHEIGHT as in 320x384")
    return int(match.group(1)), int(match.group(2))
