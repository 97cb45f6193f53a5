"""How often the witness is right, in more trials than a test affords: `python -m tests.calibration.witness_trials`."""

from __future__ import annotations

import sys
from collections import Counter

from gigaedge_calibration.verdicts import gravest
from gigaedge_calibration.witness import judge
from tests.calibration.test_witness import MOVES, WORLD, found


def main(trials: int) -> None:
    """Print, for every thing that may move and for none, what was suspected and how it was judged."""
    for what, move in {"nothing": lambda _: WORLD, **MOVES}.items():
        findings = [found(move, 2000 + seed) for seed in range(trials)]
        named = Counter(" or ".join(each.supposition for each in finding.candidates) for finding in findings)
        verdicts = Counter(gravest(judge(finding, "left")).name for finding in findings)
        print(
            f"{what}: named {100 * named[what] / trials:.1f} %; {dict(named)}; {dict(verdicts)}", flush=True
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
