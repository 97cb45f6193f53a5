"""Prompt embeddings made upstream: umT5-xxl hidden states as `.pt` or `.safetensors`."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gigaedge.errors import CheckpointError

KEYS = ("prompt_embeds", "t5_embedding")


def load_prompt(path: Path, *, length: int, width: int) -> tuple[Tensor, str | None]:
    """Read one embedding as fp32 (length, width), and a notice when it had to be cut.

    Accepts (tokens, width) or (1, tokens, width). A longer prompt is cut and a shorter one padded with zeros,
    as upstream does; the padding is not masked out. Pickled code in a `.pt` file is refused, never run.
    """
    if not path.is_file():
        raise CheckpointError(
            f"prompt embedding {path}: no such file; pass NAME=FILE with a .pt or .safetensors of umT5 embeddings"
        )
    tensor = _read(path)
    if tensor.ndim == 3 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim != 2 or not tensor.is_floating_point():
        raise CheckpointError(
            f"{path}: expected floating point (tokens, {width}); got {tensor.dtype} {tuple(tensor.shape)}"
        )
    if tensor.shape[1] != width:
        raise CheckpointError(
            f"{path}: embedding is {tensor.shape[1]} wide, the checkpoint's text_dim is {width}; "
            "use the text encoder the policy was trained with"
        )
    tensor = tensor.float()
    if not torch.isfinite(tensor).all():
        raise CheckpointError(f"{path}: embedding has NaN or infinite values; compute it again")
    tokens = tensor.shape[0]
    return pad_prompt(tensor, length), f"{path}: {tokens} tokens cut to {length}" if tokens > length else None


def pad_prompt(embedding: Tensor, length: int) -> Tensor:
    """(tokens, width) cut or padded with zeros to (length, width)."""
    missing = max(0, length - embedding.shape[0])
    return torch.nn.functional.pad(embedding[:length], (0, 0, 0, missing)).contiguous()


def _read(path: Path) -> Tensor:
    try:
        if path.suffix == ".safetensors":
            return _pick(path, dict(load_file(path)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch remarks on the pickle protocol
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: is damaged or holds pickled objects other than tensors, which could run code; "
            "save the tensor alone"
        ) from error
    except (SafetensorError, OSError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable embedding ({_first_line(error)})") from error
    return _pick(path, loaded) if isinstance(loaded, dict) else _tensor(path, loaded)


def _pick(path: Path, tensors: dict[str, Any]) -> Tensor:
    for key in KEYS:
        if key in tensors:
            return _tensor(path, tensors[key])
    found = ", ".join(map(str, tensors)) or "nothing"
    raise CheckpointError(f"{path}: expected the key {' or '.join(KEYS)}; found {found}")


def _tensor(path: Path, value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        raise CheckpointError(f"{path}: expected a tensor, got {type(value).__name__}")
    return value


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
