"""Gradients of one batch from several processes: each draws a part of it, and the parts are added up.

Two processes with a thread each do not wait for each other within a step; two threads of one process do, in every
operation, and on a busy machine lose more than they gain. Which process draws what is fixed, and so is the order of
the sum: the result depends on the seed, the step and the number of processes alone.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gigaedge.errors import GigaedgeError
from gigaedge_export.training.initial import new_transformer
from gigaedge_export.training.losses import losses
from gigaedge_export.training.samples import Demonstration, Samples, Scaling
from gigaedge_export.training.settings import PolicyTraining
from gigaedge_export.training.weights import FlatWeights
from gigaedge_export.transformer import WorldActionTransformer


@dataclass(frozen=True)
class Lesson:
    """All that a process needs to work on its part of a batch."""

    settings: PolicyTraining
    episodes: Sequence[Demonstration]
    scaling: Scaling
    prompts: NDArray[np.float32]
    """Different prompts, (prompts, tokens, text_dim)."""
    latent_channels: int
    rate_hz: float

    def new_model(self) -> WorldActionTransformer:
        """The transformer as it is before the first step."""
        settings = self.settings
        return new_transformer(
            settings.generation,
            settings.sizes,
            self.latent_channels,
            self.prompts.shape[-1],
            settings.seed,
        )


@dataclass(frozen=True)
class Outcome:
    """Losses of one batch."""

    action: float
    video: float


class Part:
    """One process's share: its samples, and a model on the common weights."""

    def __init__(self, lesson: Lesson, rank: int, weights: Tensor, gradients: Tensor) -> None:
        """`weights` (n,) are read, `gradients` (n,) are written."""
        self._lesson = lesson
        self._rank = rank
        self._gradients = gradients
        self._samples = Samples(lesson.episodes, lesson.scaling, lesson.settings.chunk, lesson.rate_hz)
        self._prompts = torch.from_numpy(lesson.prompts)
        self._model = lesson.new_model()
        FlatWeights(self._model).bind(self._model, weights, gradients)

    def work(self, step: int) -> Outcome:
        """Fill the gradients of a step, divided by the number of processes."""
        settings = self._lesson.settings
        count = settings.jobs
        number = step * count + self._rank
        batch = self._samples.draw(
            settings.seed, number, settings.batch // count, settings.futures // count, settings.beginnings
        )
        seed = np.random.SeedSequence((settings.seed, number)).generate_state(1, np.uint64)[0]
        random = torch.Generator().manual_seed(int(seed >> np.uint64(1)))
        self._gradients.zero_()
        found = losses(self._model, batch, self._prompts, settings, random)
        (found.total / count).backward()
        return Outcome(float(found.action), float(found.video))


class Team:
    """This process and its helpers; use with `with`."""

    def __init__(self, lesson: Lesson, weights: Tensor) -> None:
        """`weights` (n,) become shared memory: what is written there is what the next step reads."""
        count = lesson.settings.jobs
        self.gradients = torch.zeros(count, len(weights)).share_memory_()
        """Row 0 is the sum after a step."""
        weights.share_memory_()
        self._helpers: list[tuple[BaseProcess, Connection]] = []
        context = multiprocessing.get_context("spawn")
        try:
            for rank in range(1, count):
                ours, theirs = context.Pipe()
                process = context.Process(
                    target=_help, args=(lesson, rank, weights, self.gradients[rank], theirs), daemon=True
                )
                process.start()
                theirs.close()
                self._helpers.append((process, ours))
            self._own = Part(lesson, 0, weights, self.gradients[0])
        except BaseException:
            self.close()
            raise

    def work(self, step: int) -> Outcome:
        """Gradients and losses of a step. Raises GigaedgeError: a helper died."""
        for _, connection in self._helpers:
            connection.send(step)
        outcomes = [self._own.work(step)]
        for process, connection in self._helpers:
            try:
                outcomes.append(connection.recv())
            except EOFError as error:
                process.join(5)
                raise GigaedgeError(
                    f"a process of the training ended with code {process.exitcode}; go on with --resume"
                ) from error
        for row in self.gradients[1:]:
            self.gradients[0] += row
        return Outcome(
            action=sum(outcome.action for outcome in outcomes) / len(outcomes),
            video=sum(outcome.video for outcome in outcomes) / len(outcomes),
        )

    def close(self) -> None:
        """End the helpers."""
        for process, connection in self._helpers:
            connection.close()
            process.join(5)
            if process.is_alive():
                process.terminate()
        self._helpers.clear()

    def __enter__(self) -> Team:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _help(lesson: Lesson, rank: int, weights: Tensor, gradients: Tensor, connection: Connection) -> None:
    """Work on every step that is sent, until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the first process ends the others
    torch.set_num_threads(1)
    part = Part(lesson, rank, weights, gradients)
    while True:
        try:
            connection.send(part.work(connection.recv()))
        except (EOFError, ConnectionError):
            return
