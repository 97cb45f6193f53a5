"""`python -m tests.faults`: run the table of faults, one line each; exit code 1 when a case is not as promised."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from tests.faults import table
from tests.faults.case import Outcome
from tests.faults.cases import CASES
from tests.faults.cell import REAL_TIME
from tests.faults.harness import WITHOUT_REAL_TIME, perform


def main() -> int:
    """Run what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[case.name for case in CASES])
    parser.add_argument("--json", type=Path, metavar="F", help="also write the outcomes there")
    parser.add_argument(
        "--write", action="store_true", help=f"write the table of {table.DOCUMENT.name}, when all is well"
    )
    options = parser.parse_args()
    if options.write and (options.only or not REAL_TIME):
        parser.error("--write needs all cases (leave --only out) and real-time scheduling (`ulimit -r`)")
    if not REAL_TIME:
        longer = f"every bound is {1e3 * WITHOUT_REAL_TIME:.0f} ms longer than it says"
        print(f"note: real-time scheduling is not permitted here (`ulimit -r` or CAP_SYS_NICE): {longer}")
    cases = [case for case in CASES if not options.only or case.name in options.only]
    width = max(len(case.name) for case in cases)
    begin = time.monotonic()
    outcomes: dict[str, Outcome] = {}
    for number, case in enumerate(cases, start=1):
        outcomes[case.name] = outcome = perform(case)
        print(f"{number:2}/{len(cases)} {table.line(outcome, width)}", flush=True)
    failed = [name for name, outcome in outcomes.items() if not outcome.passed]
    if options.json is not None:
        options.json.write_text(
            json.dumps([asdict(outcome) for outcome in outcomes.values()], indent=2) + "\n"
        )
    if options.write and not failed:
        table.write(CASES, outcomes)
    verdict = f"{len(failed)} not as promised: {', '.join(failed)}" if failed else "all as promised"
    print(f"{len(cases)} faults in {time.monotonic() - begin:.0f} s, {verdict}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
