"""A trained policy as a checkpoint in the upstream layout, ready for `gigaedge export`.

OUT/transformer/config.json + diffusion_pytorch_model.safetensors   half precision
OUT/vae/                                                            as the policy was trained on
OUT/norm_stats.json
OUT/prompts/NAME.safetensors                                        one per instruction
OUT/training.json, OUT/vae/training.json                            command, seed, date, settings, what it came to
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from gigaedge.files import atomic_directory
from gigaedge_export import transformer as transformer_module
from gigaedge_export.random_checkpoint import NORM_STATS, WEIGHTS
from gigaedge_export.shards import weight_files
from gigaedge_export.transformer import WorldActionTransformer

ABOUT: Final = "training.json"
STORED: Final = torch.float16
"""Finer than bf16 over the range that trained weights have, and as large."""


def publish(
    out: Path,
    model: WorldActionTransformer,
    vae: Path,
    norm_stats: Mapping[str, Any],
    prompts: Mapping[str, NDArray[np.float32]],
    about: Mapping[str, Any],
    *,
    replace: bool,
) -> None:
    """Write the checkpoint, whole or not at all. `prompts` by instruction, (tokens, text_dim)."""
    config = model.config
    with atomic_directory(out, mark=NORM_STATS, replace=replace) as folder:
        for name in ("transformer", "vae", "prompts"):
            (folder / name).mkdir()
        content = config.model_dump(mode="json", by_alias=True, exclude_none=True)
        _write_json(folder / "transformer" / "config.json", content)
        tensors = {
            name: transformer_module.unfold(name, tensor, config).to(STORED).contiguous()
            for name, tensor in model.state_dict().items()
        }
        save_file(tensors, folder / "transformer" / f"{WEIGHTS}.safetensors", metadata={"format": "pt"})
        for name in ("config.json", ABOUT):
            if (vae / name).is_file():  # a VAE from elsewhere does not tell how it was made
                (folder / "vae" / name).write_bytes((vae / name).read_bytes())
        stored = {name: t.to(STORED) for path in weight_files(vae) for name, t in load_file(path).items()}
        save_file(stored, folder / "vae" / f"{WEIGHTS}.safetensors", metadata={"format": "pt"})
        _write_json(folder / NORM_STATS, norm_stats)
        for instruction, embedding in prompts.items():
            tensor = torch.from_numpy(embedding).contiguous()
            save_file({"prompt_embeds": tensor}, folder / "prompts" / f"{slug(instruction)}.safetensors")
        _write_json(folder / ABOUT, about)


def slug(instruction: str) -> str:
    """A file name for an instruction: `lift the red block` -> `lift-the-red-block`."""
    return "-".join(re.findall(r"[a-z0-9]+", instruction.lower())) or "prompt"


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
