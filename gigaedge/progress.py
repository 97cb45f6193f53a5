"""What long work reports to whoever watches."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Stages that begin, and how far the present one has come."""

    def __call__(self, what: str, total: int = 0) -> None:
        """A stage begins; `total` is its amount of work, in any unit, or 0 when it is not known."""

    def advance(self, amount: int) -> None:
        """More of the present stage's work is done."""


class _Quiet:
    def __call__(self, what: str, total: int = 0) -> None:
        """Nobody watches."""

    def advance(self, amount: int) -> None:
        """Nobody watches."""


QUIET: Progress = _Quiet()
