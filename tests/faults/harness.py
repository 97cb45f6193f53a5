"""Put one fault into one run, and say what came of it."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

from tests.faults.case import Case, Outcome, Reaction, Since
from tests.faults.cell import REAL_TIME, START, Cell
from tests.faults.judge import STOPS_WITHIN, moving, stands_after, violations
from tests.faults.wires import Event

MOVING = 0.5
"""s; so long the arms follow chunks before the fault comes."""
AFTER = 0.5
"""s; so long they follow chunks again after it has gone."""
REACTION = 6.0
"""s; a reaction that takes longer is none."""
WITHOUT_REAL_TIME = 0.1
"""s; added to every bound where SCHED_FIFO is not permitted, because then the harness itself may wait."""
QUEUED = 0.05
"""s; commands that were on their way when the reaction came have arrived by then."""
STALL = 0.025
"""s; a computer that keeps control or the simulated arms from running for so long has shown nothing of either."""
ATTEMPTS = 3

INTERRUPTED = 130


def perform(case: Case) -> Outcome:
    """Run one case; takes some 5 s.

    A case that fails while the computer stalled, or before the fault came, is tried again, and says so.
    """
    for attempt in range(1, ATTEMPTS + 1):
        begin = time.monotonic()
        with Cell(case.timing, case.homes, case.parks) as cell:
            trial = _Trial(case, cell)
            trial.run()
            outcome = replace(trial.outcome(time.monotonic() - begin), attempts=attempt)
        if outcome.passed or (trial.hurt and outcome.stall < STALL):
            break
    return outcome


class _Trial:
    def __init__(self, case: Case, cell: Cell) -> None:
        self._case = case
        self._cell = cell
        self.hurt = False
        """The fault was put in."""
        self._problems: list[str] = []
        self._at = 0.0
        self._reacted: Event | None = None
        self._resumed: Event | None = None
        self._report: dict[str, Any] = {}

    def run(self) -> None:
        """The whole story: start, move, fault, reaction, end."""
        case, cell = self._case, self._cell
        if case.reaction is Reaction.REFUSED:
            self.hurt = True
            case.inject(cell)
            cell.start()
        else:
            cell.start(record=case.record)
            self._hurt_while_moving()
        code = cell.end()
        self._report = cell.report()
        self._judge(code)

    def _hurt_while_moving(self) -> None:
        case, cell = self._case, self._cell
        if case.before is not None:
            # The policy is started once the arms are connected.
            cell.await_event(lambda event: (event.who, event.what) == ("policy", "hello"), 0.0, START)
            case.before(cell)
        if cell.await_state("running") is None:
            self._problems.append("the arms never came to follow a chunk")
            cell.interrupt()
            return
        cell.watch(MOVING)
        self._at = time.monotonic()
        for side, arm in cell.arms.items():
            if not moving(arm, self._at):
                self._problems.append(f"the {side} arm did not move before the fault")
        self.hurt = True
        case.inject(cell)
        self._react()

    def outcome(self, seconds: float) -> Outcome:
        milliseconds = standing = None
        if self._reacted is not None:
            milliseconds = 1e3 * (self._reacted.time - self._last_valid())
            standing = 1e3 * self._standing()
        return Outcome(
            case=self._case.name,
            problems=tuple(self._problems),
            detected_by=self._detected_by(),
            reaction=self._case.reaction.value,
            milliseconds=milliseconds,
            standing=standing,
            lost=self._lost(),
            read=self._line(),
            seconds=seconds,
            stall=self._stall(),
        )

    def _stall(self) -> float:
        """Longest time, s, that control's loop (by its report) or an arm's thread (by its steps) had to wait."""
        stalls = [(self._report.get("control") or {}).get("period", {}).get("max", 0.0)]
        for arm in self._cell.arms.values():
            stalls += [after[0] - before[0] for before, after in pairwise(arm.steps)]
        return float(max(stalls))

    def _react(self) -> None:
        """Wait for what is expected, take the fault back where the run is to survive it, and end the run."""
        case, cell = self._case, self._cell
        if case.reaction is Reaction.GOES_ON:
            cell.watch(case.lasts)
            if case.undo is not None:
                case.undo(cell)
                cell.watch(AFTER)
            self._problems += [
                f"the run did not go on: {event.values['state']}, {event.values['reason']}"
                for event in cell.heard("state", after=self._at)
                if event.values["state"] not in ("running", "approach")
            ]
            cell.interrupt()
            return
        if case.reaction is Reaction.ABANDONED:
            self._reacted = cell.await_event(lambda event: event.what == "failed", self._at, REACTION)
        else:
            # A fault that shows late finds the arms held already, because the chunk has ended.
            states = ("fault", "hold") if case.reaction is Reaction.LATCHED else ("hold",)
            self._reacted = cell.await_state(*states, after=self._at, timeout=REACTION)
        if self._reacted is None:
            self._problems.append("there was no reaction")
            cell.interrupt()
        elif case.reaction is Reaction.RESUMED:
            cell.watch(case.lasts)
            gone = time.monotonic()
            if case.undo is not None:
                case.undo(cell)
            since = gone if case.undo is not None else self._reacted.time
            self._resumed = cell.await_state("running", after=since, timeout=REACTION)
            if self._resumed is None:
                self._problems.append("the arms did not resume")
            cell.watch(AFTER)
            cell.interrupt()

    def _judge(self, code: int | None) -> None:
        case, cell = self._case, self._cell
        survives = case.reaction in (Reaction.RESUMED, Reaction.GOES_ON)
        expected = INTERRUPTED if survives else case.exit_code
        if code != expected:
            self._problems.append(f"exit code {code} in place of {expected}")
        self._problems += violations(cell, case.obedient)
        if case.reaction is Reaction.REFUSED:
            powered = [side for side, arm in cell.arms.items() if arm.enabled or arm.commands]
            self._problems += [f"the {side} arm was powered or commanded" for side in powered]
        if self._reacted is not None:
            took, bound = (
                self._reacted.time - self._last_valid(),
                case.within + (0.0 if REAL_TIME else WITHOUT_REAL_TIME),
            )
            if took > bound:
                self._problems.append(
                    f"reacted {1e3 * took:.0f} ms after the {case.since.value}, later than {1e3 * bound:.0f} ms"
                )
            self._problems += [
                f"the {side} arm was commanded although a person has it"
                for side, arm in cell.arms.items()
                if side not in case.obedient and arm.commands[-1][0] > self._reacted.time + QUEUED
            ]
            if (standing := self._standing()) > STOPS_WITHIN:
                self._problems.append(f"the arms stood only {1e3 * standing:.0f} ms after the reaction")
        if (detected := self._detected_by()) not in case.detector.split(" or "):
            self._problems.append(f"detected by {detected} in place of {case.detector}")
        line = self._line()
        if not re.search(case.reads, line):
            self._problems.append(f"a person reads {line!r}")

    def _last_valid(self) -> float:
        """When the last valid input was, s on CLOCK_MONOTONIC; needs a reaction."""
        case, cell, acted = self._case, self._cell, self._reacted
        before = acted.time if acted is not None else self._at
        if case.since is Since.FEEDBACK:
            return max(moment for moment in cell.arms[case.hurt].packets if moment <= self._at)
        if case.since is Since.SEND:
            return next((event.time for event in cell.heard("refused", after=self._at)), self._at)
        chunks = [event for event in cell.heard("chunk") if event.time <= before]
        if case.since is Since.CHUNK:
            return float(chunks[-1].values["end"])
        return chunks[-1].time if case.since is Since.PUBLISHED else self._at

    def _standing(self) -> float:
        """From the reaction to standing arms, s; the reaction of a process that is gone is its end."""
        acted = self._reacted
        if acted is None:
            return 0.0
        moment = self._at if self._case.reaction is Reaction.ABANDONED else acted.time
        until = self._resumed.time if self._resumed is not None else float("inf")
        return max(stands_after(self._cell.arms[side], moment, until) for side in self._case.obedient)

    def _detected_by(self) -> str:
        control, policy = self._report.get("control") or {}, self._report.get("policy") or {}
        if self._case.reaction is Reaction.REFUSED:
            return str(self._report.get("ended_by"))
        if control.get("fault_code"):
            return str(control["fault_code"])
        if (self._report.get("recording") or {}).get("stopped"):
            return "recorder"
        if self._cell.heard("failed"):
            return "supervisor"
        # A picture or two may be refused in any run, when a process of this computer had to wait.
        refused = policy.get("refused", {}) if self._reacted is not None else {}
        if self._case.detector in (*refused, *policy.get("odd_frames", {})):
            return self._case.detector
        return "nothing" if self._reacted is None else "chunk age"

    def _lost(self) -> str:
        """What of the run's data did not get where it belongs."""
        control, policy = self._report.get("control"), self._report.get("policy")
        if self._case.reaction is Reaction.REFUSED:
            return "nothing"
        lost = []
        if self._resumed is not None and self._reacted is not None:
            lost.append(f"{self._resumed.time - self._reacted.time:.1f} s of motion")
        if control is None:
            lost.append("control's report")
        elif control["failed_sends"]:
            lost.append(f"{control['failed_sends']} commands")
        if policy is None:
            lost.append("the chunk in work")
        elif odd := policy.get("odd_frames", {}).get("out_of_order"):
            lost.append(f"{odd} frames")
        if (self._report.get("recording") or {}).get("stopped"):
            lost.append("the flight record from then on")
        return ", ".join(lost) or "nothing"

    def _line(self) -> str:
        """The line for a person: the command's error, else its progress while it held, else notes and odd frames."""
        errors = [line for line in self._cell.printed("err").splitlines() if line.startswith("error: ")]
        if errors:
            return errors[-1].removeprefix("error: ")
        if self._case.reaction is Reaction.RESUMED and self._reacted is not None:
            held = [
                event.values["text"]
                for event in self._cell.heard("progress", after=self._reacted.time)
                if event.values["text"].startswith("hold")
            ]
            return held[-1] if held else ""
        printed = (self._cell.printed("err") + self._cell.printed("out")).splitlines()
        rows = [line for line in printed if line.startswith("note: ") or "odd camera frames" in line]
        return ", ".join(" ".join(row.replace("│", " ").split()) for row in rows)
