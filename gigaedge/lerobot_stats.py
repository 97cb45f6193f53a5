"""Statistics of a LeRobot v3 dataset's features, per episode and over all: extent, mean, deviation, quantiles.

As LeRobot does, a quantile over several episodes is the mean of theirs, weighted by their counts: good enough to scale
by, and computed without reading every frame again. `gigaedge norm-stats` computes exact ones for the policy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

QUANTILES: Final = (0.01, 0.10, 0.50, 0.90, 0.99)


@dataclass(frozen=True)
class Summary:
    """Of n rows of d values."""

    least: Array
    """(d,)."""
    greatest: Array
    """(d,)."""
    mean: Array
    """(d,)."""
    deviation: Array
    """(d,); the root of the mean square."""
    quantiles: Array
    """(5, d): at `QUANTILES`."""
    count: int

    def entries(self, picture: bool = False) -> dict[str, Any]:
        """By LeRobot's names, as lists; those of a picture's channels have the shape (3, 1, 1)."""
        shape = (-1, 1, 1) if picture else (-1,)
        values = {"min": self.least, "max": self.greatest, "mean": self.mean, "std": self.deviation}
        for part, row in zip(QUANTILES, self.quantiles, strict=True):
            values[f"q{round(100 * part):02d}"] = row
        return {**{name: row.reshape(shape).tolist() for name, row in values.items()}, "count": [self.count]}


def summarize(rows: NDArray[Any]) -> Summary:
    """The summary of values of shape (n, d), n at least 1."""
    values = rows.astype(np.float64)
    return Summary(
        values.min(axis=0),
        values.max(axis=0),
        values.mean(axis=0),
        values.std(axis=0),
        np.quantile(values, QUANTILES, axis=0),
        len(values),
    )


def merged(parts: Sequence[Summary]) -> Summary:
    """The summary of all parts together, at least one."""
    counts = np.array([part.count for part in parts], np.float64)
    weights = (counts / counts.sum())[:, np.newaxis]
    means = np.stack([part.mean for part in parts])
    mean = (weights * means).sum(axis=0)
    squares = np.stack([part.deviation**2 for part in parts]) + (means - mean) ** 2
    quantiles = np.stack([part.quantiles for part in parts])
    return Summary(
        np.min([part.least for part in parts], axis=0),
        np.max([part.greatest for part in parts], axis=0),
        mean,
        np.sqrt((weights * squares).sum(axis=0)),
        (weights[:, np.newaxis] * quantiles).sum(axis=0),
        int(counts.sum()),
    )
