"""What a training of the policy may choose, and what follows from the generation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from gigaedge.errors import InputError
from gigaedge_export.config import TRAINED_FUTURE, Generation
from gigaedge_export.random_checkpoint import Sizes
from gigaedge_export.training.forward import Mask

TINY: Final = Sizes(
    layers=4,
    heads=6,
    head_dim=32,
    ffn=512,
    text_dim=64,
    action_expert=128,
    action_ffn=384,
    action_channels=14,
    embodiments=1,
    freq_dim=128,
)
"""About 4 M weights: 8 MB in half precision."""

ACTION_WEIGHT: Final = 5.0
ACTION_SHIFT: Final = 5.0
"""Of the actions' noise levels, as at deployment."""
FUTURES: Final = 4
"""Pictures after the present one in a clip; the paper's best, every 12 steps of a chunk of 48."""


@dataclass(frozen=True)
class PolicyTraining:
    """Everything that a run depends on beside its data; it is kept in the checkpoint."""

    minutes: float | None = None
    """Wall-clock time of the training itself. Exactly one of `minutes` and `steps` is given."""
    steps: int | None = None
    generation: Generation = "GWP-0.5"
    sizes: Sizes = TINY
    chunk: int = 48
    view: tuple[int, int] = (320, 384)
    """Width and height of the composite, px."""
    prompt_length: int = 64
    seed: int = 0
    mask: Mask = "causal"
    video_weight: float = 1.0
    """0: no future tokens at all."""
    batch: int = 32
    """Pictures per step."""
    draws: int = 4
    """Of noise and flow time, for the actions of each picture."""
    clips: int = 8
    """So many pictures of a batch come with a future; an unbiased estimate at a fraction of the time."""
    beginnings: float = 0.25
    """So much of a batch shows an episode's first `BEGINNING` s, where the target has to be found."""
    stride: int = 3
    """Frames from one encoded picture to the next."""
    clip_stride: int = 15
    """Frames from one encoded future to the next; a multiple of `stride`."""
    held_out: int = 10
    """Episodes that are only evaluated on; at most a quarter of all."""
    rate: float = 1e-3
    """Largest learning rate."""
    warmup: int = 100
    """Steps."""
    decay: float = 0.01
    """Weight decay."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    average: float = 0.998
    """Of the weights' moving average, which is what is published."""
    evaluate_every: int = 250
    """Steps."""
    save_every: int = 100
    """Steps."""
    jobs: int = field(default=1)
    """Processes that share a batch."""

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise InputError("pass either minutes or steps: how long to train")
        if self.clip_stride % self.stride:
            raise InputError(f"clip_stride {self.clip_stride} is no multiple of stride {self.stride}")
        if self.chunk % FUTURES:
            raise InputError(f"chunk {self.chunk} is no multiple of {FUTURES}, the pictures of its future")
        if self.batch % self.jobs or self.futures % self.jobs:
            raise InputError(
                f"{self.jobs} processes cannot evenly share {self.batch} pictures, {self.futures} of them with a "
                "future; choose another --batch or --jobs"
            )

    @property
    def futures(self) -> int:
        """Pictures of a batch that come with a future."""
        return min(self.clips, self.batch) if self.video_weight else 0

    @property
    def action_shift(self) -> float:
        """Of the actions' noise levels, as at deployment."""
        return ACTION_SHIFT

    @property
    def video_shift(self) -> float:
        """Of the future's noise levels, where it has some of its own."""
        return TRAINED_FUTURE[self.generation].shift

    @property
    def same_time(self) -> bool:
        """Whether the future has the noise levels of the actions that it sees, as upstream trains GWP-0."""
        return TRAINED_FUTURE[self.generation].actions == "same time"

    @property
    def offsets(self) -> tuple[int, ...]:
        """Frames of a clip, counted from the present one."""
        return tuple(range(0, self.chunk + 1, self.chunk // FUTURES))
