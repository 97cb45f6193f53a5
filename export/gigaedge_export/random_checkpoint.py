"""A random checkpoint in the upstream layout, of any size: for the demo, tests and benchmarks.

The network is untrained: its actions are noise within the ranges of its `norm_stats.json`. Tensors are drawn and
written a shard at a time, so that a checkpoint of full size needs no more memory than a shard.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from gigaedge.files import atomic_directory
from gigaedge.progress import QUIET, Progress
from gigaedge.robot import ARM_DIM, DIM_UNITS, JOINTS, ROBOT_DIM, SIDES
from gigaedge_export import transformer as transformer_module
from gigaedge_export import vae as vae_module
from gigaedge_export.config import CLASS_NAMES, Generation, TransformerConfig, VaeConfig
from gigaedge_export.transformer import WorldActionTransformer
from gigaedge_export.vae import FirstFrameVae
from gigaedge_export.video_vae import VideoVae, VideoVaeConfig

WEIGHTS = "diffusion_pytorch_model"
"""Stem of upstream's file names."""
PROMPT = "prompt.safetensors"
NORM_STATS = "norm_stats.json"
HOME = (0.0, 1.3, -1.2, 0.0, 0.6, 0.0, 0.03)
"""A comfortable pose: elbow up, gripper level and half open (6 joints rad, gripper m)."""
STATE_REACH = 0.5
"""rad around HOME that the statistics call the 1st and 99th percentile."""
NOISY_REACH, SMOOTH_REACH = 0.02, 0.1
"""rad per action: small where the policy asks for white noise."""


@dataclass(frozen=True)
class Sizes:
    """What makes a checkpoint large or small."""

    layers: int = 3
    heads: int = 4
    head_dim: int = 24
    ffn: int = 192
    text_dim: int = 64
    action_expert: int = 48
    action_ffn: int = 96
    action_channels: int = 32
    embodiments: int = 2
    vae_base: int = 4
    latent_channels: int = 48
    freq_dim: int = 32


FULL_SIZE = Sizes(
    layers=30,
    heads=24,
    head_dim=128,
    ffn=14336,
    text_dim=4096,
    action_expert=1024,
    action_ffn=4096,
    embodiments=4,
    vae_base=160,
    freq_dim=256,
)
"""Sizes of the published checkpoints: 5.0 B weights as GWP-0, 6.1 B as GWP-0.5."""


def write_random_checkpoint(
    out: Path,
    generation: Generation,
    sizes: Sizes,
    *,
    seed: int = 0,
    smooth: bool = False,
    decoder: bool = False,
    dtype: torch.dtype = torch.float32,
    shard_bytes: int | None = None,
    replace: bool = False,
    progress: Progress = QUIET,
) -> None:
    """Write `transformer/`, `vae/`, `norm_stats.json` and a prompt embedding into `out`.

    `smooth` sets the action encoder and decoder so that the flow forgets its noise: neighbouring actions come out
    alike, as a trained policy's do, and an arm can follow them. With `decoder` the VAE can make frames, too, for
    `export --video`. `shard_bytes` splits the transformer's weights into
    files of about that size with an index, as upstream's are; `dtype` is the transformer's, the VAE stays fp32.
    """
    random = torch.Generator().manual_seed(seed)
    configs = {"transformer": transformer_config(generation, sizes), "vae": _vae_config(sizes)}
    with torch.device("meta"):
        transformer = WorldActionTransformer(TransformerConfig.model_validate(configs["transformer"]))
        vae = FirstFrameVae(VaeConfig.model_validate(configs["vae"]))
    shapes = {
        "transformer": transformer_module.checkpoint_shapes(transformer),
        "vae": vae_module.checkpoint_shapes(vae),
    }
    if decoder:
        # What was drawn without it is drawn first, and stays as it was.
        with torch.device("meta"):
            whole = VideoVae(VideoVaeConfig.model_validate(configs["vae"]))
        shapes["vae"] |= {
            name: tensor.shape for name, tensor in whole.state_dict().items() if name not in shapes["vae"]
        }
    passing = _passing_values(shapes["transformer"]) if smooth else {}
    with atomic_directory(out, mark=NORM_STATS, replace=replace) as folder:
        for part, config in configs.items():
            (folder / part).mkdir()
            (folder / part / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
            kind = dtype if part == "transformer" else torch.float32
            count = sum(shape.numel() for shape in shapes[part].values())
            progress(f"drawing the {part}", count * kind.itemsize)
            limit = shard_bytes if part == "transformer" else None
            groups = list(_groups(shapes[part], limit, kind.itemsize))
            shard_of: dict[str, str] = {}
            for index, names in enumerate(groups, start=1):
                file = WEIGHTS + (f"-{index:05d}-of-{len(groups):05d}" if limit else "") + ".safetensors"
                tensors = {}
                for name in names:
                    tensor = _random(name, shapes[part][name], random)
                    tensors[name] = passing.get(name, tensor).to(kind).contiguous()
                    progress.advance(tensor.numel() * kind.itemsize)
                save_file(tensors, folder / part / file, metadata={"format": "pt"})
                shard_of |= dict.fromkeys(names, file)
            if limit:
                index_text = json.dumps({"metadata": {}, "weight_map": shard_of}, indent=1)
                (folder / part / f"{WEIGHTS}.safetensors.index.json").write_text(index_text, encoding="utf-8")
        stats = json.dumps(
            {"norm_stats": _norm_stats(sizes.action_channels, SMOOTH_REACH if smooth else NOISY_REACH)},
            indent=1,
        )
        (folder / NORM_STATS).write_text(stats + "\n", encoding="utf-8")
        prompt = torch.randn(12, sizes.text_dim, generator=random)
        save_file({"prompt_embeds": prompt}, folder / PROMPT)


def transformer_config(generation: Generation, sizes: Sizes) -> dict[str, Any]:
    """The `config.json` of a transformer of these sizes."""
    config: dict[str, Any] = {
        "_class_name": next(name for name, value in CLASS_NAMES.items() if value == generation),
        "num_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "attention_head_dim": sizes.head_dim,
        "ffn_dim": sizes.ffn,
        "text_dim": sizes.text_dim,
        "freq_dim": sizes.freq_dim,
        "in_channels": sizes.latent_channels,
        "out_channels": sizes.latent_channels,
        "patch_size": [1, 2, 2],
        "in_action_channels": sizes.action_channels,
        "out_action_channels": sizes.action_channels,
        "num_embodiments": sizes.embodiments,
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "eps": 1e-6,
        "rope_max_seq_len": 1024,
    }
    if generation == "GWP-0.5":
        config |= {"action_expert_dim": sizes.action_expert, "action_ffn_dim": sizes.action_ffn}
    return config


def _vae_config(sizes: Sizes) -> dict[str, Any]:
    return {
        "_class_name": "AutoencoderKLWan",
        "base_dim": sizes.vae_base,
        "z_dim": sizes.latent_channels,
        "dim_mult": [1, 2, 4, 4],
        "num_res_blocks": 2,
        "temperal_downsample": [False, True, True],
        "in_channels": 12,
        "out_channels": 12,
        "patch_size": 2,
        "is_residual": True,
        "attn_scales": [],
        "latents_mean": [0.0] * sizes.latent_channels,
        "latents_std": [1.0] * sizes.latent_channels,
    }


def _groups(shapes: Mapping[str, torch.Size], limit: int | None, itemsize: int) -> Iterator[list[str]]:
    """Names in order, in groups of at most `limit` bytes (or one tensor)."""
    group: list[str] = []
    used = 0
    for name, shape in shapes.items():
        size = shape.numel() * itemsize
        if limit and group and used + size > limit:
            yield group
            group, used = [], 0
        group.append(name)
        used += size
    yield group


def _random(name: str, shape: torch.Size, random: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=random)
    if name.endswith("gamma") or (".norm" in name and name.endswith("weight")):
        return 1 + 0.1 * noise
    if name.endswith(("bias", "table")):
        return 0.1 * noise
    fan_in = shape[-2] if "in_proj" in name and len(shape) == 3 else shape[1:].numel()
    return noise / fan_in**0.5


def _passing_values(shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Action encoder and decoder whose velocity is k * x plus what the blocks add: the flow contracts x by exp(-k).

    GELU(z) - GELU(-z) = z, so pairs of hidden units with opposite signs pass a value through an MLP unchanged. Two
    large opposite offsets keep the output norm from rescaling it, and `gain` keeps what the blocks add small.
    """
    contraction, gain, offset = 4.0, 32.0, 160.0
    width = shapes["action_encoder.out_proj.weight"][0]
    # The norm takes the mean out, so few of its channels may carry values: the padding passes nothing.
    one = torch.eye(min(ROBOT_DIM, width - 2))
    pair = torch.cat((one, -one))
    layers = {
        "action_encoder.in_proj": pair.T,
        "action_encoder.mid_proj": pair @ pair.T,
        "action_encoder.out_proj": gain * pair.T,
        "action_decoder.in_proj": contraction / gain * offset * (2 / width) ** 0.5 * pair,
        "action_decoder.mid_proj": pair @ pair.T,
        "action_decoder.out_proj": pair,
    }
    tensors: dict[str, Tensor] = {}
    for name, values in layers.items():
        weight = torch.zeros(shapes[f"{name}.weight"])
        weight[..., : values.shape[0], : values.shape[1]] = values
        tensors |= {f"{name}.weight": weight, f"{name}.bias": torch.zeros(shapes[f"{name}.bias"])}
    tensors["action_encoder.out_proj.bias"][-2:] = torch.tensor([offset, -offset])
    return tensors


def _norm_stats(channels: int, action_reach: float) -> dict[str, dict[str, list[float]]]:
    padding = [0.0] * max(0, channels - len(DIM_UNITS))
    home = [*HOME, *HOME]
    grippers = [index % ARM_DIM == JOINTS for index in range(ARM_DIM * len(SIDES))]

    def row(reach: float, sign: float, centred: bool) -> list[float]:
        return [
            (0.035 + sign * 0.03) if gripper else round((centre if centred else 0.0) + sign * reach, 6)
            for gripper, centre in zip(grippers, home, strict=True)
        ] + padding

    return {
        "observation.state": {
            "q01": row(STATE_REACH, -1, centred=True),
            "q99": row(STATE_REACH, +1, centred=True),
        },
        "action": {
            "q01": row(action_reach, -1, centred=False),
            "q99": row(action_reach, +1, centred=False),
        },
    }
