"""All parameters of a model in one row, so that an optimiser, an average and several processes share them simply."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FlatWeights:
    """One tensor with every parameter, matrices first; the parameters of a model become views of it."""

    def __init__(self, model: nn.Module) -> None:
        named = sorted(model.named_parameters(), key=lambda item: item[1].ndim < 2 or "table" in item[0])
        self.names = [name for name, _ in named]
        self.decayed = sum(p.numel() for name, p in named if p.ndim >= 2 and "table" not in name)
        """So many at the beginning are matrices, to which weight decay applies."""
        self.values = torch.cat([parameter.detach().flatten() for _, parameter in named])

    def bind(self, model: nn.Module, values: Tensor, gradients: Tensor | None = None) -> None:
        """Make the parameters of `model` views of `values` (n,), and what backward adds to, of `gradients` (n,)."""
        parameters = dict(model.named_parameters())
        begin = 0
        for name in self.names:
            parameter = parameters[name]
            end = begin + parameter.numel()
            parameter.data = values[begin:end].view(parameter.shape)
            if gradients is not None:
                parameter.grad = gradients[begin:end].view(parameter.shape)
            begin = end
