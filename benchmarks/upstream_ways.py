"""Ways to run `upstream_eager`: compiled, or with PyTorch's other matrix product; and what surrounds the network."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from gigaedge.robot import DELTA_MASK, ROBOT_DIM
from gigaedge_export.checkpoint import NormStats
from gigaedge_export.graphs import RANGE_FLOOR
from upstream_eager import MixtureBlock, Upstream

VARIANTS = 64
"""Blocks that may be compiled; PyTorch gives up earlier by default, and with frozen weights every block is another."""


def use_onednn(model: Upstream) -> Upstream:
    """The linear layers on oneDNN, whose fp32 matrix product PyTorch leaves to MKL by default on x86-64.

    On an AMD EPYC a step of GWP-0 took half the processor time.
    """
    with warnings.catch_warnings():
        # The module that does it is written in TorchScript, which PyTorch calls deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        from torch.utils import mkldnn
    converted: Upstream = mkldnn.to_mkldnn(model)
    return converted


def compile_blocks(model: Upstream) -> None:
    """Compile every block for fixed shapes; the release compiles the action expert's blocks, and no others."""
    import torch._dynamo

    torch._dynamo.config.recompile_limit = VARIANTS
    for block in model.get_submodule("blocks").children():
        for name in ("prefix", "step") if isinstance(block, MixtureBlock) else ("forward",):
            setattr(block, name, torch.compile(getattr(block, name), dynamic=False, fullgraph=True))


def normalized_state(stats: NormStats, state: Tensor, channels: int) -> Tensor:
    """Measured joints and grippers (14,) -> (1, channels) in [-1, 1], padded with zeros."""
    low, high = torch.tensor(stats.state_q01), torch.tensor(stats.state_q99)
    padded = torch.zeros(1, channels)
    padded[0, :ROBOT_DIM] = (state - low) / (high - low).clamp_min(RANGE_FLOOR) * 2 - 1
    return padded


def targets(stats: NormStats, state: Tensor, normalized: Tensor) -> Tensor:
    """Normalised actions (chunk, channels) -> absolute targets (chunk, 14), rad and m."""
    low, high = torch.tensor(stats.action_q01), torch.tensor(stats.action_q99)
    predicted = (normalized[:, :ROBOT_DIM] + 1) / 2 * (high - low).clamp_min(RANGE_FLOOR) + low
    return predicted + state * torch.tensor(DELTA_MASK, dtype=torch.float32)
