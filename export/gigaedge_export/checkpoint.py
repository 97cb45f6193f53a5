"""A checkpoint in the upstream layout, read strictly.

    DIR/transformer/config.json + *.safetensors (one file, or shards with an index); or transformer_ema/
    DIR/vae/config.json         + *.safetensors
    DIR/norm_stats.json

Anything missing, unexpected, misshapen or not finite is a CheckpointError that names the tensor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gigaedge.errors import CheckpointError, InputError
from gigaedge.progress import QUIET, Progress
from gigaedge.robot import DIM_NAMES, ROBOT_DIM
from gigaedge_export import transformer as transformer_module
from gigaedge_export import vae as vae_module
from gigaedge_export.config import TransformerConfig, VaeConfig, load_config
from gigaedge_export.layers import Conv2d, Linear
from gigaedge_export.shards import Shards, weight_files
from gigaedge_export.transformer import WorldActionTransformer
from gigaedge_export.vae import FirstFrameVae
from gigaedge_export.video_vae import VideoVae, VideoVaeConfig

DECODER = ("decoder.", "post_quant_conv.")
"""What the names of the VAE's tensors begin with that only frames are made with."""
CHECK_BLOCK = 1 << 20
"""Elements looked at together."""
_CONTIGUOUS = torch.contiguous_format


@dataclass(frozen=True)
class NormStats:
    """The 1st and 99th percentiles that map states and actions to [-1, 1]; 14 values each, rad and m."""

    state_q01: tuple[float, ...]
    state_q99: tuple[float, ...]
    action_q01: tuple[float, ...]
    action_q99: tuple[float, ...]


@dataclass(frozen=True)
class CheckpointPaths:
    """Where the three parts are."""

    transformer: Path
    vae: Path
    norm_stats: Path

    @classmethod
    def in_directory(
        cls,
        directory: Path,
        transformer: Path | None = None,
        vae: Path | None = None,
        norm_stats: Path | None = None,
    ) -> CheckpointPaths:
        """The upstream layout, with any part found elsewhere."""
        if not directory.is_dir():
            raise CheckpointError(
                f"{directory}: no such folder; pass the one that holds transformer/, vae/ and norm_stats.json"
            )
        trained, averaged = directory / "transformer", directory / "transformer_ema"
        return cls(
            transformer or (averaged if averaged.is_dir() and not trained.is_dir() else trained),
            vae or directory / "vae",
            norm_stats or directory / "norm_stats.json",
        )

    def files(self) -> dict[str, Path]:
        """Every file that goes into an export, by a name that does not depend on where it lies."""
        files = {"norm_stats.json": self.norm_stats}
        for part, folder in (("transformer", self.transformer), ("vae", self.vae)):
            for path in (folder / "config.json", *weight_files(folder)):
                files[f"{part}/{path.name}"] = path
        return files


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint, opened. Its large weights stay in their files until something computes with them."""

    paths: CheckpointPaths
    transformer: WorldActionTransformer
    vae: FirstFrameVae
    stats: NormStats
    shards: tuple[Shards, ...]

    def release(self) -> None:
        """Drop the weights' file pages from this process; they come back when needed."""
        for shards in self.shards:
            shards.release()


def load_checkpoint(paths: CheckpointPaths, progress: Progress = QUIET) -> LoadedCheckpoint:
    """Open and check everything an export needs."""
    stats = load_norm_stats(paths.norm_stats)
    transformer, transformer_shards = load_transformer(paths.transformer, progress)
    vae, vae_shards = load_vae(paths.vae, progress)
    channels = transformer.config.in_channels
    if channels != vae.config.z_dim:
        raise InputError(
            f"{paths.vae}: the VAE has {vae.config.z_dim} latent channels, the transformer takes {channels}"
        )
    if transformer.config.in_action_channels < ROBOT_DIM:
        raise InputError(
            f"{paths.transformer}: in_action_channels is {transformer.config.in_action_channels}; "
            f"a pair of PiPER arms needs {ROBOT_DIM}"
        )
    return LoadedCheckpoint(paths, transformer, vae, stats, (transformer_shards, vae_shards))


def load_transformer(folder: Path, progress: Progress = QUIET) -> tuple[WorldActionTransformer, Shards]:
    """Build the transformer that `config.json` describes on the tensors of its files."""
    config = load_config(folder / "config.json", TransformerConfig)
    with torch.device("meta"):
        model = WorldActionTransformer(config)
    shapes = transformer_module.checkpoint_shapes(model)
    shards = _fill(model, folder, shapes, progress, "transformer", convert=transformer_module.fold)
    return model, shards


def load_vae(folder: Path, progress: Progress = QUIET) -> tuple[FirstFrameVae, Shards]:
    """Build the single-frame encoder on the tensors of its files; the decoder's are not read."""
    config = load_config(folder / "config.json", VaeConfig)
    with torch.device("meta"):
        model = FirstFrameVae(config)
    shards = _fill(
        model,
        folder,
        vae_module.checkpoint_shapes(model),
        progress,
        "VAE",
        unused=lambda name: name.startswith(DECODER) or ".time_conv." in name,
        convert=lambda name, tensor: vae_module.fold(name, tensor, config),
    )
    return model, shards


def load_decoder(folder: Path, progress: Progress = QUIET) -> VideoVae:
    """Build a VAE that only decodes on the tensors of its files, in memory. Raises CheckpointError."""
    config = load_config(folder / "config.json", VideoVaeConfig)
    with torch.device("meta"):
        model = VideoVae(config)
    del model.encoder, model.quant_conv
    if not any(name.startswith(DECODER) for name in Shards(folder).names()):
        raise CheckpointError(
            f"{folder}: has no decoder, only an encoder; --video needs the whole VAE, as upstream stores it"
        )
    _fill(
        model,
        folder,
        {name: tensor.shape for name, tensor in model.state_dict().items()},
        progress,
        "VAE's decoder",
        unused=lambda name: not name.startswith(DECODER),
        convert=lambda name, tensor: tensor,
    )
    return model


def load_norm_stats(path: Path) -> NormStats:
    """Read `norm_stats.json`; only the first 14 values of each row count, the rest is padding."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; pass --norm-stats FILE")
    try:
        stats = json.loads(path.read_text(encoding="utf-8"))["norm_stats"]
        rows = {
            (key, quantile): stats[key][quantile]
            for key in ("observation.state", "action")
            for quantile in ("q01", "q99")
        }
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: not valid JSON ({error})") from error
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: missing {error}; expected norm_stats -> observation.state / action -> q01 / q99"
        ) from error
    for (key, quantile), row in rows.items():
        _check_row(path, f"{key}.{quantile}", row)
    for key in ("observation.state", "action"):
        low, high = rows[key, "q01"], rows[key, "q99"]
        for name, q01, q99 in zip(DIM_NAMES, low, high, strict=False):
            if q01 > q99:
                raise CheckpointError(f"{path}: {key} {name}: q01 {q01} is above q99 {q99}")
    first = {where: tuple(float(value) for value in row[:ROBOT_DIM]) for where, row in rows.items()}
    return NormStats(
        state_q01=first["observation.state", "q01"],
        state_q99=first["observation.state", "q99"],
        action_q01=first["action", "q01"],
        action_q99=first["action", "q99"],
    )


def _check_row(path: Path, where: str, row: Any) -> None:
    numbers = isinstance(row, list) and all(isinstance(value, int | float) for value in row)
    if not numbers or len(row) < ROBOT_DIM:
        raise CheckpointError(f"{path}: {where}: expected a list of at least {ROBOT_DIM} numbers")
    for name, value in zip(DIM_NAMES, row, strict=False):
        if not math.isfinite(value):
            raise CheckpointError(f"{path}: {where}: {name} is {value}; compute the statistics again")


def _fill(
    model: torch.nn.Module,
    folder: Path,
    shapes: Mapping[str, torch.Size],
    progress: Progress,
    what: str,
    *,
    unused: Callable[[str], bool] = lambda name: False,
    convert: Callable[[str, Tensor], Tensor],
) -> Shards:
    """Give the modules of `model` the tensors in `folder`; `shapes` is what the files must hold.

    The weights of Linear and Conv2d stay mapped, in their stored type; the rest is small and becomes fp32.
    """
    shards = Shards(folder)
    _compare_names(folder, shapes.keys(), (name for name in shards.names() if not unused(name)))
    for name, expected in shapes.items():
        found = shards.shape(name)
        if found != expected:
            raise CheckpointError(
                f"{folder}: tensor {name} has shape {tuple(found)}, config.json asks for {tuple(expected)}"
            )
    mapped = {
        f"{path}.weight" for path, module in model.named_modules() if isinstance(module, Linear | Conv2d)
    }
    parameters = {}
    progress(f"checking the {what}", sum(shards.tensor(name).nbytes for name in shapes))
    for name in shapes:
        stored = shards.tensor(name)
        _check_finite(folder, name, stored)
        tensor = convert(name, stored)
        parameters[name] = tensor if name in mapped else tensor.float().clone(memory_format=_CONTIGUOUS)
        shards.release()
        progress.advance(stored.nbytes)
    model.load_state_dict(parameters, assign=True)
    model.eval().requires_grad_(False)
    return shards


def _check_finite(folder: Path, name: str, tensor: Tensor) -> None:
    # The extremes of a block are finite only when every element is: no mask as large as the tensor.
    for block in tensor.reshape(-1).split(CHECK_BLOCK):
        if not torch.isfinite(torch.stack(torch.aminmax(block))).all():
            raise CheckpointError(f"{folder}: tensor {name} has NaN or infinite values; the file is damaged")


def _compare_names(folder: Path, expected: Iterable[str], found: Iterable[str]) -> None:
    wanted, present = set(expected), set(found)
    for names, word in ((wanted - present, "missing"), (present - wanted, "unexpected")):
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise CheckpointError(
                f"{folder}: {word} tensor {min(names)}{more}; weights and config.json do not belong together"
            )
