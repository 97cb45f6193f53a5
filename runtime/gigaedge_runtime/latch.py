"""A fault outlives the run that ended with it: one file per arm, until a person takes it away.

The files lie in the user's state folder, so that a fault is still known after a restart of the computer. An
arm is its CAN interface and channel. A file that cannot be read counts as a latch: in doubt, nothing moves.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gigaedge.errors import ArmError
from gigaedge.files import write_text
from gigaedge.site import ArmConfig, CanConfig, Site
from gigaedge_runtime.recovery import recovery_of
from gigaedge_runtime.states import Fault, FaultCode


class Latch(BaseModel):
    """Why an arm is not to be commanded, as it lies in a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_: Literal[1] = Field(1, alias="schema")
    time: datetime | None
    """Of the end of the run, in UTC; None where that cannot be read."""
    code: str
    """Name of a `FaultCode`, in small letters."""
    text: str
    """What happened, in one line."""
    steps: tuple[str, ...]
    """What a person does, in order."""

    @property
    def when(self) -> str:
        """The time in words, as in `2026-11-22 10:01 UTC`."""
        if self.time is None:
            return "an unknown time"
        return self.time.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def latchable(site: Site) -> list[ArmConfig]:
    """The arms of a site whose faults outlive a run: all but absent ones, and those simulated afresh each run."""
    return [arm for arm in site.arms if arm.driver == "piper"]


def latch_file(can: CanConfig) -> Path:
    """Where the latch of the arm on this bus lies, if it has one."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "gigaedge" / "faults" / f"{quote(f'{can.interface}.{can.channel}', safe='')}.json"


def set_latch(arms: Sequence[ArmConfig], fault: Fault, now: datetime) -> None:
    """Latch arms that have no latch yet: the first fault is the cause. Raises OSError: no file can be written."""
    latch = Latch(
        time=now,
        code=fault.code.name.lower(),
        text=fault.text,
        steps=recovery_of(fault.code).steps,
    )
    for arm in arms:
        file = latch_file(arm.can)
        if not file.exists():
            write_text(file, latch.model_dump_json(by_alias=True, indent=1) + "\n")


def read_latch(arm: ArmConfig) -> Latch | None:
    """The latch of an arm, or None."""
    file = latch_file(arm.can)
    try:
        return Latch.model_validate_json(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, ValidationError):
        return Latch(
            time=None,
            code=FaultCode.ARM.name.lower(),
            text=f"an earlier fault whose record {file} cannot be read",
            steps=recovery_of(FaultCode.ARM).steps,
        )


def clear_latch(arm: ArmConfig) -> None:
    """Take the latch of an arm away, if it has one. Raises OSError: the file cannot be removed."""
    latch_file(arm.can).unlink(missing_ok=True)


def refuse_latched(site: Site) -> None:
    """Raise ArmError, with what happened and when, if an arm of the site has a latch."""
    for arm in latchable(site):
        latch = read_latch(arm)
        if latch is not None:
            raise ArmError(
                f"{arm.side} arm on {arm.can.channel}: latched since {latch.when}: {latch.text}; "
                "see `gigaedge arms status SITE` for what to do, then `gigaedge arms clear SITE`"
            )
