"""One weight, converted: fp32 or fp16 as it is, int8 per output channel, or 8 and 4 bits in blocks.

Every function takes a weight (out, in) of any floating type and works through it in blocks of rows, so that beside the
result little memory is needed whatever the weight's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

ROW_BLOCK = 1 << 22
"""Elements worked on together."""
HALF_LARGEST = 65504.0
HALF_LOSS = 1e-3
"""Relative L2 beyond which a weight does not fit fp16; rounding alone costs about 2e-4."""


def rows(weight: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Row ranges of a weight with their values in fp32, (rows, everything else)."""
    step = max(1, ROW_BLOCK // max(1, weight[0].numel()))
    for start in range(0, len(weight), step):
        part = slice(start, min(start + step, len(weight)))
        yield part, weight[part].float().flatten(1) if weight.ndim > 1 else weight[part].float()


def as_type(weight: Tensor, dtype: type[np.float32] | type[np.float16]) -> NDArray[np.floating]:
    """The weight as fp32 or fp16, in its own shape."""
    out = np.empty(tuple(weight.shape), dtype)
    for part, values in rows(weight):
        out[part] = values.numpy().reshape(out[part].shape)
    return out


@dataclass(frozen=True)
class HalfFit:
    """What a weight loses in fp16."""

    overflows: int
    """Values beyond 65504."""
    flushed: int
    """Values too small for a subnormal, that become zero."""
    relative_l2: float

    @property
    def fits(self) -> bool:
        """Whether fp16 can hold it."""
        return not self.overflows and self.relative_l2 <= HALF_LOSS


def half_fit(weight: Tensor) -> HalfFit:
    """Compare a weight with itself in fp16."""
    overflows = flushed = 0
    lost = total = 0.0
    for _, values in rows(weight):
        half = values.half()
        overflows += int(half.isinf().sum())
        flushed += int(((half == 0) & (values != 0)).sum())
        total += float(torch.linalg.vector_norm(values, dtype=torch.float64)) ** 2
        lost += float(torch.linalg.vector_norm(values - half.float(), dtype=torch.float64)) ** 2
    return HalfFit(overflows, flushed, (lost / total) ** 0.5 if total and not overflows else 0.0)


def channel_scales(weight: Tensor) -> NDArray[np.float32]:
    """Symmetric int8 scales per output channel, (out,)."""
    out = np.empty(len(weight), np.float32)
    for part, values in rows(weight):
        out[part] = (values.abs().amax(dim=1) / 127).numpy()
    return np.where(out > 0, out, np.float32(1))


def channel_int8(weight: Tensor, *, transpose: bool) -> NDArray[np.int8]:
    """Symmetric int8 per output channel: (out, in), or (in, out) for MatMulInteger."""
    scales = torch.from_numpy(channel_scales(weight))
    out = np.empty(tuple(weight.T.shape if transpose else weight.shape), np.int8)
    for part, values in rows(weight):
        levels = (values / scales[part, None]).round_().clamp_(-127, 127).to(torch.int8).numpy()
        if transpose:
            out[:, part] = levels.T
        else:
            out[part] = levels
    return out


@dataclass(frozen=True)
class Blocks:
    """Symmetric weight-only quantisation in blocks along the input, as ONNX Runtime's MatMulNBits stores it."""

    bits: int
    block: int
    """Inputs that share a scale."""

    def count(self, inputs: int) -> int:
        """Blocks per output channel."""
        return -(-inputs // self.block)

    def scales(self, weight: Tensor) -> NDArray[np.float32]:
        """Scales, (out, blocks)."""
        out = np.empty((len(weight), self.count(weight.shape[1])), np.float32)
        for part, values in rows(weight):
            out[part] = self._scales(self._split(values)).numpy()
        return out

    def packed(self, weight: Tensor) -> NDArray[np.uint8]:
        """Levels offset by 2^(bits-1), packed low bits first, (out, blocks, block * bits / 8)."""
        middle = 1 << (self.bits - 1)
        shape = (len(weight), self.count(weight.shape[1]), self.block * self.bits // 8)
        out = np.empty(shape, np.uint8)
        for part, values in rows(weight):
            split = self._split(values)
            levels = (split / self._scales(split).unsqueeze(-1)).round_().clamp_(-middle, middle - 1)
            codes = (levels + middle).to(torch.uint8)
            if self.bits == 4:
                codes = codes[..., 0::2] | codes[..., 1::2] << 4
            out[part] = codes.numpy()
        return out

    def _split(self, values: Tensor) -> Tensor:
        padding = -values.shape[1] % self.block
        return torch.nn.functional.pad(values, (0, padding)).unflatten(1, (-1, self.block))

    def _scales(self, split: Tensor) -> Tensor:
        """The value farthest from zero takes the lowest level, which has no positive counterpart."""
        low, high = torch.aminmax(split, dim=-1)
        farthest = torch.where(high > -low, high, low)
        scales = farthest / -(1 << (self.bits - 1))
        return torch.where(scales == 0, torch.ones_like(scales), scales)
