"""A checkpoint in the upstream layout, read strictly.

    DIR/transformer/config.json + *.safetensors (one file, or shards with an index)
    DIR/vae/config.json         + *.safetensors
    DIR/norm_stats.json

Anything missing, unexpected, misshapen or not finite is a CheckpointError that names the tensor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gigaedge.errors import CheckpointError
from gigaedge.robot import DIM_NAMES, ROBOT_DIM
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gigaedge_export import vae as vae_module
from gigaedge_export.config import TransformerConfig, VaeConfig, load_config
from gigaedge_export.transformer import WorldActionTransformer
from gigaedge_export.vae import FirstFrameVae

UNUSED_VAE_PREFIXES = ("decoder.", "post_quant_conv.")


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
        return cls(
            transformer or directory / "transformer",
            vae or directory / "vae",
            norm_stats or directory / "norm_stats.json",
        )

    def files(self) -> dict[str, Path]:
        """Every file that goes into an export, by a name that does not depend on where it lies."""
        files = {"norm_stats.json": self.norm_stats}
        for part, folder in (("transformer", self.transformer), ("vae", self.vae)):
            for path in (folder / "config.json", *_weight_files(folder)):
                files[f"{part}/{path.name}"] = path
        return files


def load_transformer(folder: Path) -> WorldActionTransformer:
    """Build the transformer that `config.json` describes and fill it, in fp32."""
    model = WorldActionTransformer(load_config(folder / "config.json", TransformerConfig))
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    _fill(model, folder, shapes, unused=lambda name: False, convert=lambda name, tensor: tensor)
    return model.eval().requires_grad_(False)


def load_vae(folder: Path) -> FirstFrameVae:
    """Build the single-frame encoder and fill it, in fp32; the decoder's tensors are not read."""
    config = load_config(folder / "config.json", VaeConfig)
    model = FirstFrameVae(config)
    _fill(
        model,
        folder,
        vae_module.checkpoint_shapes(model),
        unused=lambda name: name.startswith(UNUSED_VAE_PREFIXES) or ".time_conv." in name,
        convert=lambda name, tensor: vae_module.fold(name, tensor, config),
    )
    return model.eval().requires_grad_(False)


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


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a diffusers folder: those of the index, or the only one."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder")
    indices = sorted(folder.glob("*.safetensors.index.json"))
    if indices:
        try:
            names = set(json.loads(indices[0].read_text(encoding="utf-8"))["weight_map"].values())
        except (json.JSONDecodeError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{indices[0]}: not a shard index ({error!r})") from error
        missing = sorted(name for name in names if not (folder / name).is_file())
        if missing:
            raise CheckpointError(f"{folder}: shard {missing[0]} is missing; copy it from the checkpoint")
        return [folder / name for name in sorted(names)]
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        found = ", ".join(path.name for path in files) or "none"
        raise CheckpointError(f"{folder}: expected one .safetensors file or shards with an index; found {found}")
    return files


def _fill(
    model: torch.nn.Module,
    folder: Path,
    shapes: Mapping[str, torch.Size],
    *,
    unused: Callable[[str], bool],
    convert: Callable[[str, Tensor], Tensor],
) -> None:
    """Copy every tensor into `model`; `shapes` is what the files must hold."""
    with ExitStack() as stack:
        stored: dict[str, Any] = {}
        for path in _weight_files(folder):
            try:
                file = stack.enter_context(safe_open(path, framework="pt"))
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"{path}: truncated or not safetensors ({error}); copy it again") from error
            stored |= dict.fromkeys(file.keys(), file)
        _compare_names(folder, shapes.keys(), (name for name in stored if not unused(name)))
        parameters = model.state_dict()
        for name, expected in shapes.items():
            found = torch.Size(stored[name].get_slice(name).get_shape())
            if found != expected:
                raise CheckpointError(
                    f"{folder}: tensor {name} has shape {tuple(found)}, config.json asks for {tuple(expected)}"
                )
            tensor = stored[name].get_tensor(name)
            if not tensor.is_floating_point():
                raise CheckpointError(f"{folder}: tensor {name} is {tensor.dtype}, expected floating point")
            if not torch.isfinite(tensor).all():
                raise CheckpointError(f"{folder}: tensor {name} has NaN or infinite values; the file is damaged")
            parameters[name].copy_(convert(name, tensor))


def _compare_names(folder: Path, expected: Iterable[str], found: Iterable[str]) -> None:
    wanted, present = set(expected), set(found)
    for names, word in ((wanted - present, "missing"), (present - wanted, "unexpected")):
        if names:
            more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
            raise CheckpointError(
                f"{folder}: {word} tensor {min(names)}{more}; weights and config.json do not belong together"
            )
