"""A training run on disk: what the next step needs, and the log. Written whole, so that any break can be resumed."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from gigaedge.errors import InputError
from gigaedge.files import atomic_file, write_text
from gigaedge_export.training.settings import PolicyTraining

STATE: Final = "state.pt"
LOG: Final = "log.jsonl"
FREE: Final = ("minutes", "steps", "evaluate_every", "save_every")
"""Settings that may change when a run is resumed; a longer run also anneals its rate later."""


@dataclass(frozen=True)
class RunState:
    """Between two steps."""

    step: int
    """Steps done."""
    seconds: float
    """Time spent."""
    weights: Tensor
    """(n,)."""
    average: Tensor
    """(n,)."""
    optimiser: dict[str, Any]
    """As torch keeps it."""


def save_state(folder: Path, state: RunState, settings: PolicyTraining) -> None:
    """Replace the saved state."""
    content = {**vars(state), "settings": json.dumps(asdict(settings))}
    with atomic_file(folder / STATE) as temporary:
        torch.save(content, temporary)


def load_state(folder: Path, settings: PolicyTraining) -> RunState:
    """Raises InputError: nothing was saved, it is damaged, or it belongs to other settings."""
    path = folder / STATE
    if not path.is_file():
        raise InputError(f"{path}: no such file; there is no run to resume, leave out --resume")
    try:
        content = torch.load(path, weights_only=True)
        saved = json.loads(content.pop("settings"))
        state = RunState(**content)
    except (
        OSError,
        RuntimeError,
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        pickle.UnpicklingError,
    ) as error:
        raise InputError(f"{path}: damaged ({type(error).__name__}); begin again without --resume") from error
    wanted = json.loads(json.dumps(asdict(settings)))
    for name, value in wanted.items():
        if name not in FREE and saved.get(name) != value:
            raise InputError(
                f"{path}: was begun with {name} {saved.get(name)}, not {value}; pass the same, or begin again without "
                "--resume"
            )
    return state


class Log:
    """JSON lines, one per record; what is known after the step that a run resumes from is dropped."""

    def __init__(self, folder: Path, resumed_at: int, name: str = LOG) -> None:
        self.path = folder / name
        kept = [record for record in read_log(folder, name) if record["step"] <= resumed_at]
        write_text(self.path, "".join(json.dumps(record) + "\n" for record in kept))

    def add(self, record: dict[str, Any]) -> None:
        """Append one record, which names its `step`."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def read_log(folder: Path, name: str = LOG) -> list[dict[str, Any]]:
    """The records of a run so far; one that was not written to its end is left out."""
    path = folder / name
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]
