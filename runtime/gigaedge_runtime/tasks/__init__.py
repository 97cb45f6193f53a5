"""Tasks in the physical cell, named after the paper's real ones where one pair of arms can play them with primitives."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gigaedge_runtime.tasks.lift_block import LiftBlock
from gigaedge_runtime.tasks.task import FIRST_TRAINING_SEED, RATE, Task, View

__all__ = ["FIRST_TRAINING_SEED", "RATE", "TASKS", "Task", "View"]

_ALL: tuple[Task, ...] = (LiftBlock(),)

TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in _ALL})
"""Every task by its name, the simplest first."""
