"""`gigaedge export`: checkpoint -> bundle."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    stage_progress,
)
from gigaedge.errors import InputError, ObservationError
from gigaedge.robot import ROBOT_DIM

if TYPE_CHECKING:
    from gigaedge.bundle import Manifest, PromptText
    from gigaedge.cli.common import StageProgress
    from gigaedge.findings import FidelityInfo, FidelityRow
    from gigaedge_export.checkpoint import LoadedCheckpoint
    from gigaedge_export.export import ExportOptions
    from gigaedge_export.ranges import Sample


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("export", epilog=_EXAMPLE)(export_command)


_EXAMPLE = (
    "Example: `gigaedge export --checkpoint ckpt --prompt bowl=bowl.pt --steps 10,5 "
    "--precision int8 --target cuda --out bundle`"
)
MAX_STEPS = 1000
"""As many as training has timesteps."""
VERIFY_WEIGHTS = 500_000_000
"""ONNX Runtime on the CPU holds weights in fp32, some of them twice: 4 GB at this size."""


def export_command(
    checkpoint: Annotated[
        Path, typer.Option(help="Folder with transformer/, vae/ and norm_stats.json.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="Bundle folder to write.", show_default=False)],
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=FILE, a .pt or .safetensors umT5 embedding, or NAME=TEXT with --text-encoder; "
            "may be repeated.",
            show_default=False,
        ),
    ] = None,
    text_encoder: Annotated[
        Path | None,
        typer.Option(
            help="What embeds texts: a folder written by `gigaedge text-encoder`.", show_default=False
        ),
    ] = None,
    transformer: Annotated[Path | None, typer.Option(help="Transformer folder elsewhere.")] = None,
    vae: Annotated[Path | None, typer.Option(help="VAE folder elsewhere.")] = None,
    norm_stats: Annotated[Path | None, typer.Option(help="norm_stats.json elsewhere.")] = None,
    steps: Annotated[str, typer.Option(help="Sampler steps; several, as in 10,5, share the weights.")] = "10",
    chunk: Annotated[int, typer.Option(help="Actions per chunk.", min=1)] = 48,
    rate: Annotated[
        float, typer.Option(help="Actions per second, the dataset's rate.", min=0.1, max=1000.0)
    ] = 30.0,
    view_size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the composite, px.")] = "320x384",
    view_layout: Annotated[
        Literal["tshape", "horizontal"], typer.Option(help="How the three views are put together.")
    ] = ("tshape"),
    prompt_length: Annotated[int, typer.Option(help="Prompt tokens; longer is cut.", min=1)] = 64,
    shift: Annotated[float, typer.Option(help="Shift of the flow schedule.", min=0.01, max=1000.0)] = 5.0,
    timesteps: Annotated[
        Literal["bf16", "exact"],
        typer.Option(help="bf16 rounds them as in upstream's training; exact does not."),
    ] = "bf16",
    precision: Annotated[
        Literal["fp32", "fp16", "int8", "int4"],
        typer.Option(help="Storage of the weights; every lossy one reports its error."),
    ] = "fp32",
    target: Annotated[
        Literal["cpu", "cuda", "tensorrt"],
        typer.Option(
            help="What the bundle is for: int8 is dynamic on cpu, weight-only on cuda, calibrated Q/DQ on tensorrt."
        ),
    ] = "cpu",
    recipe: Annotated[
        Path | None, typer.Option(help="YAML with `rules`, a list of {match: PLACE, precision: P}.")
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="Observations (a .safetensors, or a folder of them) to measure activations on."),
    ] = None,
    layout: Annotated[
        Literal["split", "single"],
        typer.Option(help="split: a graph per stage, fastest; single: one graph that any program can call."),
    ] = "split",
    video: Annotated[
        bool,
        typer.Option(
            "--video", help="Also what `gigaedge imagine` needs: a step of the future, the VAE's decoder."
        ),
    ] = False,
    video_steps: Annotated[
        int, typer.Option(help="Steps from noise to the future, with --video.", min=1, max=1000)
    ] = 10,
    video_shift: Annotated[
        float | None,
        typer.Option(
            help="Shift of the future's flow schedule, with --video; default: GWP-0 5, GWP-0.5 2.",
            min=0.01,
            max=1000.0,
            show_default=False,
        ),
    ] = None,
    opset: Annotated[
        int, typer.Option(help="ONNX opset; 20 for TensorRT before 10.14.", min=20, max=23)
    ] = 23,
    verify: Annotated[
        bool | None,
        typer.Option(
            help="Compare the bundle with PyTorch before it is put in place; default: up to 0.5 B weights.",
            show_default=False,
        ),
    ] = None,
    force: ForceOption = False,
    json: JsonOption = False,
) -> None:
    """Export a trained checkpoint to ONNX: trace, fold what is constant, verify against PyTorch, write a bundle."""
    with needs("export,cpu"):
        from gigaedge.bundle import read_manifest
        from gigaedge.files import require_free
        from gigaedge.prompts import record_texts
        from gigaedge_export.checkpoint import CheckpointPaths, load_checkpoint
        from gigaedge_export.export import ExportOptions
        from gigaedge_export.recipe import Recipe, read_rules
        from gigaedge_export.video_export import VideoOptions
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
        recipe=Recipe(precision, target, read_rules(recipe) if recipe else ()),
        video=VideoOptions(video_steps, video_shift) if video else None,
    )
    given: dict[str, str] = {}
    for item in prompt or []:
        name, value = parse_pair(item, "--prompt")
        if name in given:
            raise InputError(f"--prompt {name}: given twice; prompt names must differ")
        given[name] = value
    require_free(out, replace=force)  # told now rather than after the checkpoint is read and checked
    paths = CheckpointPaths.in_directory(checkpoint, transformer, vae, norm_stats)
    with prompt_files(given, text_encoder, paths.transformer, prompt_length) as (prompts, texts):
        with stage_progress(quiet=json) as begin:
            loaded = load_checkpoint(paths, begin)
            samples = calibration_samples(calibration, loaded, options, prompts) if calibration else ()
            notices = write_bundle(
                loaded, prompts, out, options, samples=samples, verify=verify, force=force, begin=begin
            )
        record_texts(out, texts)
    print_notices(notices)
    manifest = read_manifest(out)
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
    samples: Sequence[Sample] = (),
    verify: bool | None = None,
    force: bool,
    begin: StageProgress,
) -> list[str]:
    """Export; with `verify`, run the graphs against PyTorch first and keep no fp32 bundle that disagrees.

    Without a word on it, that is done up to VERIFY_WEIGHTS, and a notice says where it was not.
    """
    with needs("export,cpu"):
        from gigaedge.cli import proof
        from gigaedge_export.export import export_bundle
    size = sum(parameter.numel() for parameter in loaded.transformer.parameters())
    wanted = size <= VERIFY_WEIGHTS if verify is None else verify
    notices = export_bundle(
        loaded,
        prompts,
        out,
        options,
        samples=samples,
        replace=force,
        progress=begin,
        prove=(lambda folder: proof.prove(folder, loaded)) if wanted else None,
    )
    if verify is None and not wanted:
        notices.append(
            f"not compared with PyTorch: ONNX Runtime would hold {size / 1e9:.1f} B weights in memory; where that is "
            f"possible run `gigaedge verify {out} --checkpoint {loaded.paths.transformer.parent}`"
        )
    return notices


def calibration_samples(
    source: Path, loaded: LoadedCheckpoint, options: ExportOptions, prompts: dict[str, Path]
) -> list[Sample]:
    """Observations, as `gigaedge infer` reads them, with the composite made and the rest filled in.

    An observation without a prompt is measured with the first one of the bundle, one without noise with noise of its
    own. Raises ObservationError naming the file.
    """
    with needs("robot,export,cpu"):
        import numpy as np

        from gigaedge.bundle import ViewInfo
        from gigaedge.cli.observations import find_observations, read_observation
        from gigaedge_export.prompts import load_prompt
        from gigaedge_export.ranges import Sample
    width, length = loaded.transformer.config.text_dim, options.prompt_length
    view = ViewInfo(width=options.view_width, height=options.view_height, layout=options.view_layout)
    samples = []
    for index, file in enumerate(find_observations([source])):
        observation = read_observation(file)
        path = file if observation.prompt is not None else next(iter(prompts.values()), file)
        prompt, _ = load_prompt(path, length=length, width=width)
        shape = (options.chunk, loaded.transformer.config.in_action_channels)
        noise = observation.noise
        if noise is None:
            noise = np.random.default_rng(index).standard_normal(shape, np.float32)
        for name, found, wanted in (("state", observation.state, (ROBOT_DIM,)), ("noise", noise, shape)):
            if found.shape != wanted or found.dtype.kind != "f" or not np.isfinite(found).all():
                raise ObservationError(
                    f"{file}: {name}: expected finite float {wanted}, got {found.dtype} {found.shape}"
                    + ("" if np.isfinite(found).all() else " with NaN or infinite values")
                )
        try:
            composite = observation.compose(view)
        except ObservationError as error:
            raise ObservationError(f"{file}: {error}") from error
        state = observation.state.astype(np.float32)
        samples.append(Sample(composite, state, prompt.numpy(), noise.astype(np.float32)))
    return samples


@contextmanager
def prompt_files(
    given: Mapping[str, str], text_encoder: Path | None, transformer: Path, length: int
) -> Iterator[tuple[dict[str, Path], dict[str, PromptText]]]:
    """Yield the embedding files of prompts, in order, and what is to be recorded of those given as a text.

    With a text encoder, a value that neither is a file nor ends like one is a text.
    """
    from gigaedge.cli.prompt import EMBEDDING_SUFFIXES, embed_texts
    from gigaedge.files import write_tensors
    from gigaedge_export.config import TransformerConfig, load_config

    texts = {
        name: value
        for name, value in given.items()
        if text_encoder and not os.path.isfile(value) and not value.endswith(EMBEDDING_SUFFIXES)
    }
    files = {name: Path(value) for name, value in given.items()}
    if text_encoder is None or not texts:
        yield files, {}
        return
    width = load_config(transformer / "config.json", TransformerConfig).text_dim
    embedded = embed_texts(texts, text_encoder, length=length, width=width)
    with tempfile.TemporaryDirectory(prefix="gigaedge-") as temporary:
        for number, (name, prompt) in enumerate(embedded.items()):
            files[name] = Path(temporary) / f"{number}.safetensors"
            write_tensors(files[name], {"prompt_embeds": prompt.embedding})
        yield files, {name: prompt.source for name, prompt in embedded.items() if prompt.source}


def describe(path: Path, manifest: Manifest) -> str:
    """A bundle in one line."""
    size = sum(info.bytes for info in manifest.files()) / 1e6
    steps = ",".join(
        str(schedule.steps) for schedule in manifest.sampler.schedules if schedule.solver == "euler"
    )
    proof = "not verified"
    if manifest.fidelity is not None:
        proof = describe_fidelity(manifest.fidelity)
    return (
        f"{path}: {manifest.model.generation}, {manifest.model.parameters / 1e6:.2f} M weights, "
        f"{manifest.precision.recipe}, {size:.1f} MB, steps {steps}; {proof}"
    )


def describe_fidelity(fidelity: FidelityInfo) -> str:
    """How the graphs were judged, the first stage of each kind, and what the chunk's error comes to on the arms."""
    first: dict[str, FidelityRow] = {}
    for row in fidelity.stages:
        first.setdefault(row.stage.partition("/")[0].partition(" ")[0], row)
    parts = [f"{kind} {row.relative_l2:.1e}" for kind, row in first.items()]
    action = first.get("action")
    if action is not None and action.joint_degrees is not None:
        parts.append(
            f"worst joint {action.joint_degrees:.2g} degrees, worst fingertip {action.fingertip_millimetres:.2g} mm"
        )
    if not fidelity.passed:
        parts.append(f"velocities are beyond the gate of {fidelity.tolerance:.0e}")
    judged = "verified against" if fidelity.passed and fidelity.tolerance is not None else "compared with"
    return f"{judged} {fidelity.reference}: {', '.join(parts)}"


def parse_steps(text: str) -> tuple[int, ...]:
    """`10` or `10,5,4`."""
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise InputError(f"--steps {text!r}: expected whole numbers as in 10 or 10,5,4")
    steps = tuple(int(part) for part in text.split(","))
    if min(steps) < 1 or max(steps) > MAX_STEPS or len(set(steps)) != len(steps):
        raise InputError(f"--steps {text!r}: step counts must be from 1 to {MAX_STEPS} and differ")
    return steps


def parse_size(text: str) -> tuple[int, int]:
    """`320x384` -> (320, 384)."""
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise InputError(f"--view-size {text!r}: expected WIDTHxHEIGHT as in 320x384")
    return int(match.group(1)), int(match.group(2))
