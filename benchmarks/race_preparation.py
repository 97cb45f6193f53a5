"""Makes a course: draws the checkpoint, exports the bundles, cuts the VAE out of their graphs. Needs PyTorch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import asdict
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data
from onnx.utils import Extractor

import gigaedge_export
from gigaedge.bundle import Layout, Precision
from gigaedge.files import write_text
from gigaedge.robot import ROBOT_DIM
from gigaedge_export.checkpoint import CheckpointPaths, load_checkpoint
from gigaedge_export.export import ExportOptions, export_bundle
from gigaedge_export.prompts import load_prompt
from gigaedge_export.random_checkpoint import HOME, PROMPT, Sizes, write_random_checkpoint
from gigaedge_export.recipe import Recipe
from gigaedge_export.sampler import schedule
from race_course import Course, Given, Size

SIZES: Final[dict[Size, Sizes]] = {
    "tiny": Sizes(layers=1),
    "small": Sizes(
        layers=4, heads=4, head_dim=64, ffn=1024, text_dim=256, action_expert=96, action_ffn=384, freq_dim=256
    ),
    "medium": Sizes(
        layers=12,
        heads=8,
        head_dim=128,
        ffn=4096,
        text_dim=1024,
        action_expert=384,
        action_ffn=1536,
        freq_dim=256,
    ),
}
"""`tiny` is for trying the race out. The VAE is small in all of them: the race is about the transformer."""
SEED: Final = 1
MADE: Final = "made.json"
OPTIONS: Final = ExportOptions()


def prepare(
    course: Course, wanted: Collection[tuple[Precision, Layout]], tell: Callable[[str], None]
) -> None:
    """Make the checkpoint and the bundles that are missing, or that another exporter has made."""
    sizes = SIZES[course.size]
    recipe = {"sizes": asdict(sizes), "seed": SEED, "exporter": _exporter_digest()}
    mark = course.folder / MADE
    fits = mark.is_file() and json.loads(mark.read_text(encoding="utf-8")) == recipe
    if not fits:
        course.folder.mkdir(parents=True, exist_ok=True)
        mark.unlink(missing_ok=True)
        for graph in course.folder.glob("*.vae.onnx"):
            graph.unlink()
        tell(f"{course.generation}: drawing the checkpoint")
        write_random_checkpoint(course.checkpoint, course.generation, sizes, seed=SEED, replace=True)
        course.write(_observation(course, sizes))
        write_text(mark, json.dumps(recipe))
    for precision, layout in sorted(wanted):
        made, vae = course.bundle(precision, layout), course.vae(precision, layout)
        # The VAE's graph is the last to be written: a bundle without one was left half done, or is another exporter's.
        if vae.is_file():
            continue
        tell(f"{course.generation}: exporting {precision}, {layout}")
        loaded = load_checkpoint(CheckpointPaths.in_directory(course.checkpoint))
        options = ExportOptions(recipe=Recipe(precision=precision), layout=layout)
        export_bundle(loaded, {"race": course.checkpoint / PROMPT}, made, options, replace=True)
        _cut_vae(made / ("context.onnx" if layout == "split" else "policy.onnx"), vae)


def _observation(course: Course, sizes: Sizes) -> Given:
    """Random pixels, arms near home, noise that stays the same."""
    random = np.random.default_rng(SEED)
    state = np.array([*HOME, *HOME]) + random.uniform(-0.01, 0.01, ROBOT_DIM)
    prompt, _ = load_prompt(course.checkpoint / PROMPT, length=OPTIONS.prompt_length, width=sizes.text_dim)
    sampler = schedule(OPTIONS.steps[0], OPTIONS.shift, OPTIONS.timesteps)
    return Given(
        composite=random.integers(0, 256, (OPTIONS.view_height, OPTIONS.view_width, 3), np.uint8),
        state=state.astype(np.float32),
        noise=random.standard_normal((OPTIONS.chunk, sizes.action_channels), np.float32),
        prompt=prompt.numpy(),
        sigmas=sampler.sigmas,
        timesteps=sampler.timesteps,
    )


def _exporter_digest() -> str:
    """Changes whenever the exporter's source does."""
    digest = hashlib.sha256()
    for path in sorted(Path(gigaedge_export.__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _cut_vae(graph: Path, out: Path) -> None:
    """Write the part of a graph that leads from `composite` to `latents`, weights included."""
    part = Extractor(onnx.load(graph, load_external_data=False)).extract_model(["composite"], ["latents"])
    for tensor in part.graph.initializer:
        if uses_external_data(tensor):
            load_external_data_for_tensor(tensor, str(graph.parent))
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
    onnx.save(part, out)
