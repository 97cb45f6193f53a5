"""Tasks in the physical cell: scenes, experts and judges, named after the paper's real tasks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gigaedge_runtime.tasks.clean_desk import CleanDesk
from gigaedge_runtime.tasks.lift_block import LiftBlock
from gigaedge_runtime.tasks.scan import Scan
from gigaedge_runtime.tasks.stack_cups import StackCups
from gigaedge_runtime.tasks.sweep_trash import SweepTrash
from gigaedge_runtime.tasks.task import FIRST_TRAINING_SEED, RATE, Task, View

__all__ = ["FIRST_TRAINING_SEED", "RATE", "TASKS", "Task", "View"]

_ALL: tuple[Task, ...] = (LiftBlock(), CleanDesk(), StackCups(), SweepTrash(), Scan())

TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in _ALL})
"""Every task by its name, the simplest first."""
