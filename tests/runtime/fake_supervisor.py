"""`run_site` in a process of its own, to be interrupted or killed. Prints the children's pids. SITE REPORT"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from gigaedge.site import load_site
from gigaedge_runtime.children import Child
from gigaedge_runtime.run import run_site
from gigaedge_runtime.supervisor import Programs

started = Child.__init__


def announce(self: Child, *arguments: object) -> None:
    started(self, *arguments)  # type: ignore[arg-type]
    print(json.dumps({self.name: self.pid}), flush=True)


if __name__ == "__main__":
    Child.__init__ = announce  # type: ignore[method-assign]
    fake = str(Path(__file__).with_name("fake_policy.py"))
    report = run_site(
        load_site(Path(sys.argv[1])),
        report=Path(sys.argv[2]),
        programs=Programs(policy=(sys.executable, fake, "ramp")),
    )
    print(json.dumps({"ended_by": report.ended_by}), flush=True)
