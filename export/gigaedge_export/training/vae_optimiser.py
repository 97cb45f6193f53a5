"""How the VAE's weights begin and move: scaled so that no norm divides by little, and Muon for the kernels.

Muon (Jordan et al. 2024) moves a matrix by its momentum with all singular values made equal, so that rare directions,
such as those of a small block on a large table, are learned as fast as common ones. It comes with PyTorch for matrices
of two axes; here the kernels of a shape go through it together. What is no kernel moves by Adam.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from gigaedge_export.video_vae import VideoVae

BRANCH = 0.5
"""Scale of what a residual branch adds, and of a resampler's convolution beside its shortcut, at the beginning."""
REFERENCE = 0.5
"""Deviation of the first convolutions' biases. Norms keep directions alone: beside a constant, size is direction."""
FIRST_LOGVAR = -4.0
"""Logarithm of the posterior's variance at the beginning: little noise, until the KL term wants more."""
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the odd polynomial whose iteration moves singular values towards 1."""
ITERATIONS = 5
MOMENTUM = 0.9
SECOND_MOMENT = 0.95
ADAM_SHARE = 0.1
"""Adam's learning rate, as a share of Muon's."""
DECAY = 0.01
"""Of the kernels, per unit of learning rate and step."""


def initialise(vae: VideoVae) -> None:
    """Draw the weights from torch's generator; at the beginning, a clip is so many still pictures."""
    for name, module in vae.named_modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            weight = module.weight.data
            weight.normal_(0, (weight.shape[1] * weight.shape[-1] * weight.shape[-2]) ** -0.5)
            if weight.ndim == 5:
                weight[:, :, :-1] = 0
            if name.endswith(("conv2", ".proj")) or ".resample." in name:
                weight.mul_(BRANCH)
            if module.bias is not None:
                module.bias.data.zero_()
    channels = vae.config.z_dim
    for first in (vae.encoder.conv_in, vae.decoder.conv_in):
        nn.init.normal_(first.bias, 0, REFERENCE)  # type: ignore[arg-type]
    for last in (vae.quant_conv, vae.post_quant_conv):
        last.weight.data.zero_()
        last.weight.data[:channels, :channels, 0, 0, 0] = torch.eye(channels)
    vae.quant_conv.bias.data[channels:] = FIRST_LOGVAR  # type: ignore[union-attr]


class Muon(torch.optim.Optimizer):
    """Orthogonal steps for kernels, Adam for biases and norms."""

    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One step along the gradients; there is no `closure`."""
        for group in self.param_groups:
            kernels: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.ndim >= 4 and parameter.shape[0] > 1 and parameter[0].numel() > 1:
                    kernels[torch.Size((parameter.shape[0], parameter[0].numel()))].append(parameter)
                else:
                    self._adam(parameter, group["lr"] * ADAM_SHARE)
            for shape, parameters in kernels.items():
                steps = orthogonal(torch.stack([self._momentum(p).flatten(1) for p in parameters]))
                rate = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for parameter, step in zip(parameters, steps, strict=True):
                    parameter.mul_(1 - group["lr"] * DECAY).add_(step.view_as(parameter), alpha=-rate)

    def _momentum(self, parameter: Tensor) -> Tensor:
        """Nesterov's: the gradient, looked at a step ahead."""
        gradient, state = _gradient(parameter), self.state[parameter]
        if not state:
            state["mean"] = torch.zeros_like(parameter)
        state["mean"].lerp_(gradient, 1 - MOMENTUM)
        return gradient.lerp(state["mean"], MOMENTUM)

    def _adam(self, parameter: Tensor, rate: float) -> None:
        gradient, state = _gradient(parameter), self.state[parameter]
        if not state:
            state |= {"steps": 0, "mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}
        state["steps"] += 1
        state["mean"].lerp_(gradient, 1 - MOMENTUM)
        state["square"].lerp_(gradient.square(), 1 - SECOND_MOMENT)
        size = (state["square"] / (1 - SECOND_MOMENT ** state["steps"])).sqrt() + 1e-8
        parameter.addcdiv_(state["mean"], size, value=-rate / (1 - MOMENTUM ** state["steps"]))


def orthogonal(matrices: Tensor) -> Tensor:
    """(n, rows, columns) with singular values near 1, their singular vectors kept."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    first, third, fifth = QUINTIC
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = first * x + (third * square + fifth * square @ square) @ x
    return x.mT if tall else x


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
