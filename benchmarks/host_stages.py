"""What the host benchmarks share: stages timed by two clocks, and what a benchmark comes to."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np

from gigaedge.cli.common import print_json, print_table
from gigaedge.errors import CheckFailedError

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Stage:
    """How long one stage takes, s."""

    name: str
    count: int
    wall_p50: float
    wall_p99: float
    wall_max: float
    cpu_p50: float
    cpu_p99: float
    cpu_max: float


class Stopwatch:
    """Durations by stage, on the wall and of this thread's CPU time.

    Reading both clocks costs some microseconds a stage: the whole is timed in every other round, stages in the rest.
    """

    def __init__(self) -> None:
        self._samples: dict[str, list[tuple[float, float]]] = {}
        self._round = 0

    def around(self, name: str, call: F, whole: bool = False) -> F:
        """`call`, timed; the `whole` begins a round."""
        samples = self._samples.setdefault(name, [])
        wall, cpu = time.perf_counter, time.thread_time

        def timed(*args: Any, **kwargs: Any) -> Any:
            self._round += whole
            if self._round % 2 != whole:
                return call(*args, **kwargs)
            begin, computed = wall(), cpu()
            try:
                return call(*args, **kwargs)
            finally:
                samples.append((wall() - begin, cpu() - computed))

        return timed  # type: ignore[return-value]

    def wrap(self, owner: object, whole: bool = False, **methods: str) -> None:
        """Time methods of one object: stage name -> method name."""
        for name, method in methods.items():
            setattr(owner, method, self.around(name, getattr(owner, method), whole))

    def clear(self) -> None:
        """Forget what was timed so far."""
        for samples in self._samples.values():
            samples.clear()

    def stages(self) -> list[Stage]:
        """The distribution of every stage, in the order in which they were named."""
        return [
            Stage(name, len(samples), *_spread([s[0] for s in samples]), *_spread([s[1] for s in samples]))
            for name, samples in self._samples.items()
            if samples
        ]


def _spread(samples: list[float]) -> tuple[float, float, float]:
    p50, p99 = np.percentile(samples, (50, 99))
    return float(p50), float(p99), max(samples)


@dataclass(frozen=True)
class Result:
    """One benchmark."""

    machine: str
    scheduling: str
    limit: float
    """s; for the p99 of the last stage."""
    yardstick: Stage
    """A fixed piece of like work, timed in the same rounds: what tells a slower program from a slower computer."""
    stages: list[Stage]
    """In the order of a round; the last one is the whole."""

    @property
    def total(self) -> Stage:
        """The stage that the limit is for."""
        return self.stages[-1]


def finish(result: Result, title: str, as_json: bool, require: bool) -> None:
    """Print a result. Raises CheckFailedError where it exceeds its limit and that is `require`d."""
    if as_json:
        print_json(asdict(result))
    else:
        print_table(
            f"{title}, us; {result.machine}; {result.scheduling}",
            ["stage", "count", "wall p50", "p99", "max", "CPU p50", "p99", "max"],
            [
                [
                    stage.name,
                    str(stage.count),
                    *(
                        f"{1e6 * value:.0f}"
                        for value in (
                            stage.wall_p50,
                            stage.wall_p99,
                            stage.wall_max,
                            stage.cpu_p50,
                            stage.cpu_p99,
                            stage.cpu_max,
                        )
                    ),
                ]
                for stage in (*result.stages, result.yardstick)
            ],
        )
    total = result.total
    if require and total.wall_p99 > result.limit:
        raise CheckFailedError(
            f"{title}: p99 is {1e3 * total.wall_p99:.2f} ms, more than {1e3 * result.limit:g} ms "
            f"(of it CPU: {1e3 * total.cpu_p99:.2f} ms)"
        )
