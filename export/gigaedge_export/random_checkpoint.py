"""A random checkpoint in the upstream layout, of any size: for the demo, tests and benchmarks.

The network is untrained: its actions are noise within the ranges of its `norm_stats.json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from gigaedge.files import atomic_directory
from gigaedge.robot import ARM_DIM, DIM_UNITS, JOINTS, ROBOT_DIM, SIDES
from gigaedge_export.config import CLASS_NAMES, Generation, TransformerConfig, VaeConfig
from gigaedge_export.transformer import WorldActionTransformer
from gigaedge_export.vae import FirstFrameVae, checkpoint_shapes

WEIGHTS = "diffusion_pytorch_model.safetensors"
PROMPT = "prompt.safetensors"
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


def write_random_checkpoint(
    out: Path,
    generation: Generation,
    sizes: Sizes,
    *,
    seed: int = 0,
    smooth: bool = False,
    replace: bool = False,
) -> None:
    """Write `transformer/`, `vae/`, `norm_stats.json` and a prompt embedding into `out`.

    `smooth` sets the action encoder and decoder so that the flow forgets its noise: neighbouring actions come out
    alike, as a trained policy's do, and an arm can follow them.
    """
    random = torch.Generator().manual_seed(seed)
    transformer_config = _transformer_config(generation, sizes)
    vae_config = _vae_config(sizes)
    transformer = WorldActionTransformer(TransformerConfig.model_validate(transformer_config))
    shapes = {name: tensor.shape for name, tensor in transformer.state_dict().items()}
    vae_shapes = checkpoint_shapes(FirstFrameVae(VaeConfig.model_validate(vae_config)))
    weights = _random_tensors(shapes, random)
    if smooth:
        _forget_noise(weights)
    with atomic_directory(out, replace=replace) as folder:
        for part, config, tensors in (
            ("transformer", transformer_config, weights),
            ("vae", vae_config, _random_tensors(vae_shapes, random)),
        ):
            (folder / part).mkdir()
            (folder / part / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
            save_file(tensors, folder / part / WEIGHTS, metadata={"format": "pt"})
        stats = json.dumps(
            {"norm_stats": _norm_stats(sizes.action_channels, SMOOTH_REACH if smooth else NOISY_REACH)},
            indent=1,
        )
        (folder / "norm_stats.json").write_text(stats + "\n", encoding="utf-8")
        prompt = torch.randn(12, sizes.text_dim, generator=random)
        save_file({"prompt_embeds": prompt}, folder / PROMPT)


def _transformer_config(generation: Generation, sizes: Sizes) -> dict[str, Any]:
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
        "patch_size": 2,
        "is_residual": True,
        "attn_scales": [],
        "latents_mean": [0.0] * sizes.latent_channels,
        "latents_std": [1.0] * sizes.latent_channels,
    }


def _random_tensors(shapes: dict[str, torch.Size], random: torch.Generator) -> dict[str, Tensor]:
    """Weights that keep activations near unit size; gains near one, offsets near zero."""
    return {name: _random(name, shape, random) for name, shape in shapes.items()}


def _random(name: str, shape: torch.Size, random: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=random)
    if name.endswith("gamma") or (".norm" in name and name.endswith("weight")):
        return 1 + 0.1 * noise
    if name.endswith(("bias", "table")):
        return 0.1 * noise
    fan_in = shape[-2] if "in_proj" in name and len(shape) == 3 else shape[1:].numel()
    return noise / fan_in**0.5


def _forget_noise(tensors: dict[str, Tensor]) -> None:
    """Make the action velocity k * x plus what the blocks add, so that the flow contracts x by about exp(-k).

    GELU(z) - GELU(-z) = z, so pairs of hidden units with opposite signs pass a value through an MLP unchanged. Two
    large opposite offsets keep the output norm from rescaling it, and `gain` keeps what the blocks add small.
    """
    contraction, gain, offset = 4.0, 32.0, 160.0
    width = tensors["action_encoder.out_proj.weight"].shape[0]
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
    for name, values in layers.items():
        weight, bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        weight.zero_()
        bias.zero_()
        weight[..., : values.shape[0], : values.shape[1]] = values
    tensors["action_encoder.out_proj.bias"][-2:] = torch.tensor([offset, -offset])


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
