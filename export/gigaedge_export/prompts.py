"""Prompt embeddings made upstream: umT5-xxl hidden states as `.pt` or `.safetensors`."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gigaedge.errors import CheckpointError
from gigaedge.prompts import fit, missing, pick, read_embedding


def load_prompt(path: Path, *, length: int, width: int) -> tuple[Tensor, str | None]:
    """Read one embedding as fp32 (length, width), and a notice when it had to be cut.

    Accepts (tokens, width) or (1, tokens, width). A longer prompt is cut and a shorter one padded with zeros,
    as upstream does; the padding is not masked out. Pickled code in a `.pt` file is refused, never run.
    """
    values = read_embedding(path) if path.suffix == ".safetensors" else read_pickled(path)
    fitted, notice = fit(values, path, length=length, width=width)
    return torch.from_numpy(fitted), notice


def read_pickled(path: Path) -> NDArray[np.float32]:
    """The embedding in a `.pt` file: a tensor, or one in a dict under a key of `gigaedge.prompts.KEYS`."""
    if not path.is_file():
        raise missing(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch remarks on the pickle protocol
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: is damaged or holds pickled objects other than tensors, which could run code; "
            "save the tensor alone"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(f"{path}: not a readable embedding ({_first_line(error)})") from error
    value = loaded[pick(path, loaded)] if isinstance(loaded, dict) else loaded
    if not isinstance(value, Tensor):
        raise CheckpointError(f"{path}: expected a tensor, got {type(value).__name__}")
    if not value.is_floating_point():
        raise CheckpointError(f"{path}: expected floating point, got {value.dtype} {tuple(value.shape)}")
    return value.detach().float().numpy()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
