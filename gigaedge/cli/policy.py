"""`gigaedge inspect`, `infer`, `verify`: looking at a bundle, asking it, judging it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gigaedge.cli.common import (
    BundleArgument,
    JsonOption,
    ProviderOption,
    SeedOption,
    SolverOption,
    StepsOption,
    needs,
    print_json,
    print_notices,
    print_table,
    report_checks,
)
from gigaedge.errors import CheckFailedError, InputError

if TYPE_CHECKING:
    from gigaedge.bundle import Manifest, PrecisionInfo
    from gigaedge.findings import FidelityRow, LedgerInfo
    from gigaedge_runtime.memory import MemoryUse


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("inspect", epilog="Example: `gigaedge inspect bundle --check`")(inspect_command)
    app.command("infer", epilog="Example: `gigaedge infer bundle obs.safetensors --out chunk.safetensors`")(
        infer_command
    )
    app.command("verify", epilog="Example: `gigaedge verify bundle --golden tests/golden/gwp0-tiny`")(
        verify_command
    )


def inspect_command(
    bundle: BundleArgument,
    check: Annotated[bool, typer.Option("--check", help="Hash the weights too, however large.")] = False,
    load: Annotated[
        bool, typer.Option("--load", help="Load it in a process of its own and measure its memory.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Say what a bundle is: model, sizes, precision, sampler, prompts, fidelity. Verifies its checksums."""
    from gigaedge.bundle import open_bundle

    manifest = open_bundle(bundle, check_weights=check).manifest
    memory = _memory(bundle) if load else None
    if json:
        measured = {"memory": {**asdict(memory), "ratio": memory.ratio}} if memory else {}
        described = manifest.model_dump(mode="json", by_alias=True)
        print_json({"bundle": str(bundle), **described, **measured})
        return
    sampler, view, action = manifest.sampler, manifest.view, manifest.action
    solvers = {schedule.solver: "" for schedule in sampler.schedules}
    for schedule in sampler.schedules:
        solvers[schedule.solver] += f" {schedule.steps}"
    counts = "; ".join(f"{solver}{steps}" for solver, steps in solvers.items())
    rows = [
        ["model", f"{manifest.model.generation}, {manifest.model.parameters:,} weights"],
        ["written", f"{manifest.created} by gigaedge {manifest.gigaedge}, opset {manifest.opset}"],
        ["layout", manifest.layout],
        ["precision", describe_precision(manifest.precision)],
        [
            "sampler",
            f"steps: {counts}; shift {sampler.shift}, timesteps {sampler.timestep_rounding}",
        ],
        ["view", f"{view.width}x{view.height} {view.layout} of {', '.join(view.roles)}"],
        [
            "action",
            f"{action.chunk} x {len(action.names)} at {action.rate_hz:g} Hz, replan after {action.replan_after}",
        ],
        [
            "prompts",
            f"{', '.join(manifest.prompts.names)} ({manifest.prompts.length} x {manifest.prompts.width})",
        ],
        *_video_rows(manifest),
        *([info.file, f"{info.bytes / 1e6:.2f} MB"] for info in manifest.files()),
        ["weights by type", ", ".join(f"{k} {v / 1e6:.2f} MB" for k, v in manifest.weights.by_type.items())],
    ]
    if manifest.fidelity is not None:
        rows += [[f"fidelity: {row.stage}", _describe_row(row)] for row in manifest.fidelity.stages]
    if manifest.ledger is not None:
        rows += _ledger_rows(manifest.ledger)
    if memory is not None:
        rows += _memory_rows(memory)
    print_table(str(bundle), ["", ""], rows)


def _video_rows(manifest: Manifest) -> list[list[str]]:
    video, rate = manifest.video, manifest.action.rate_hz
    if video is None:
        return []
    seconds = ", ".join(f"{offset / rate:g}" for offset in video.offsets)
    return [
        [
            "video",
            f"frames {seconds} s ahead in {video.steps} steps; shift {video.shift}, actions {video.actions}",
        ]
    ]


def _memory(bundle: Path) -> MemoryUse:
    with needs("robot,cpu"):
        import onnxruntime  # noqa: F401  the child needs it; that it is missing is said here

        from gigaedge_runtime.memory import measure_memory
    return measure_memory(bundle)


def _memory_rows(memory: MemoryUse) -> list[list[str]]:
    ratio = f"{memory.ratio:.2f} x the weights at fp32 ({memory.weights_fp32 / 1e6:.1f} MB)"
    return [
        ["memory: loaded", f"{memory.loaded / 1e6:.1f} MB"],
        ["memory: after a chunk", f"{memory.first_chunk / 1e6:.1f} MB, {ratio}"],
        ["memory: peak", f"{memory.peak / 1e6:.1f} MB"],
    ]


def _ledger_rows(ledger: LedgerInfo) -> list[list[str]]:
    gates = [
        f"{gate:g} {unit}"
        for gate, unit in ((ledger.gate_degrees, "deg"), (ledger.gate_millimetres, "mm"))
        if gate is not None
    ]
    asked = f"; gates at p95: {', '.join(gates)}" if gates else ""
    return [
        ["ledger", f"against {ledger.reference}, {ledger.chunks} chunks{asked}"],
        *(
            [
                f"ledger: {row.steps} steps, {row.solver}",
                f"p95 {row.joint_degrees.p95:.3g} deg, {row.fingertip_millimetres.p95:.3g} mm; "
                f"{row.latency_milliseconds.p50:.1f} ms",
            ]
            for row in ledger.rows
        ),
        ["ledger: latency on", ledger.machine],
    ]


def infer_command(
    bundle: BundleArgument,
    observation: Annotated[
        Path,
        typer.Argument(
            help="safetensors with image.cam_high, image.cam_left_wrist, image.cam_right_wrist, state; "
            "optional noise, prompt_embeds.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="safetensors file to write.", show_default=False)],
    prompt: Annotated[
        str | None, typer.Option(help="Prompt of the bundle; wins over the observation's.")
    ] = None,
    steps: StepsOption = None,
    solver: SolverOption = "euler",
    seed: SeedOption = 0,
    provider: ProviderOption = "cpu",
    intermediate: Annotated[
        bool, typer.Option("--intermediate", help="Also write ref_latents, velocity and trajectory.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Run one chunk: composite the views, sample, write `composite`, `action_normalized` and `action`."""
    with needs("robot,cpu"):
        import numpy as np

        from gigaedge.cli.observations import read_observation
        from gigaedge_runtime.policy import Observation, Policy

    from gigaedge.files import write_tensors

    recorded = read_observation(observation)
    policy = Policy.load(bundle, prompt=prompt, steps=steps, solver=solver, provider=provider, seed=seed)
    if prompt is None and recorded.prompt is not None:
        policy.set_prompt_embedding(recorded.prompt)
    composite = recorded.compose(policy.manifest.view)
    chunk = policy.chunk(
        Observation(composite, recorded.state, recorded.noise),
        intermediate=intermediate,
    )
    if not np.isfinite(chunk.actions).all():
        raise CheckFailedError(
            f"{bundle}: the policy answered with values that are not finite; nothing was written"
        )
    extra = {
        key: chunk.intermediate[key] for key in ("ref_latents", "velocity", "trajectory") if intermediate
    }
    write_tensors(
        out,
        {
            "composite": composite,
            "action_normalized": chunk.normalized[np.newaxis],
            "action": chunk.actions,
            **extra,
        },
    )
    timings = {stage: seconds * 1e3 for stage, seconds in chunk.timings.items()}
    if json:
        print_json({"out": str(out), "action_shape": list(chunk.actions.shape), "milliseconds": timings})
    else:
        stages = ", ".join(f"{stage} {value:.1f} ms" for stage, value in timings.items())
        typer.echo(f"{out}: {chunk.actions.shape[0]} actions x {chunk.actions.shape[1]}; {stages}")


def verify_command(
    bundle: BundleArgument,
    golden: Annotated[
        Path | None, typer.Option(help="Folder with a recording of upstream (io.safetensors).")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Checkpoint the bundle was made from.")] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            help="Largest relative L2 of velocities that passes; default: fp32 1e-4 (of all stages), fp16 1e-2, "
            "int8 3e-2, int4 none.",
            min=0.0,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compare a bundle stage by stage with upstream's recording or with PyTorch; exit 1 beyond the tolerance."""
    if (golden is None) == (checkpoint is None):
        raise InputError("verify needs either --golden DIR or --checkpoint DIR")
    with needs("robot,export,cpu" if checkpoint else "robot,cpu"):
        from gigaedge.bundle import read_manifest
        from gigaedge.cli import proof

        if golden is not None:
            checks = proof.against_golden(bundle, golden, tolerance)
            title = f"{bundle} against {golden}"
            if not any(check.row.stage.startswith("joint") for check in checks):
                print_notices(
                    ["the joint forward is not compared: it needs PyTorch, and the checkpoint beside it"]
                )
        else:
            from gigaedge_export.checkpoint import CheckpointPaths, load_checkpoint

            loaded = load_checkpoint(CheckpointPaths.in_directory(checkpoint))  # type: ignore[arg-type]
            checks = proof.against_checkpoint(bundle, loaded, tolerance)
            title = f"{bundle} against PyTorch"
    gates = proof.Gates.of(read_manifest(bundle), tolerance)
    if not report_checks(title, checks, gates.velocity, json):
        failed = next(check for check in checks if not check.passed)
        raise CheckFailedError(
            f"{failed.row.stage}: relative L2 {failed.row.relative_l2:.1e} is beyond {gates.velocity:.0e}"
        )


def _describe_row(row: FidelityRow) -> str:
    text = f"relative L2 {row.relative_l2:.1e}, max abs {row.max_abs:.1e}"
    if row.joint_degrees is None:
        return text
    return f"{text}, worst joint {row.joint_degrees:.2g} deg, fingertip {row.fingertip_millimetres:.2g} mm"


def describe_precision(info: PrecisionInfo) -> str:
    """What a bundle is stored in, what it is for, and how much of it stayed higher."""
    reasons = Counter(
        kept.reason if kept.reason in ("guard", "recipe") else "kept fp32" for kept in info.kept
    )
    kept = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    return f"{info.recipe} for {info.target}, activations {info.activations}" + (f" ({kept})" if kept else "")
