"""`gigaedge` as a person calls it, except that its children can be told to misbehave. run SITE --report F"""

from __future__ import annotations

from typing import Any

from gigaedge import cli
from gigaedge.errors import GigaedgeError
from gigaedge.site import Site
from gigaedge_runtime import run
from gigaedge_runtime.children import python_module
from gigaedge_runtime.report import RunReport
from gigaedge_runtime.supervisor import Programs, Progress
from tests.faults.wires import Mouth

PROGRAMS = Programs(
    control=python_module("tests.faults.control_program"),
    policy=python_module("tests.faults.policy_program"),
    recorder=python_module("tests.faults.recorder_program"),
)

mouth = Mouth("supervisor")
run_site = run.run_site


def run_site_and_tell(site: Site, **options: Any) -> RunReport:
    """`run_site` with other programs; tells progress as a person sees it, and a failed end."""

    def look(progress: Progress) -> None:
        mouth.tell("progress", text=str(progress))

    try:
        return run_site(site, **{**options, "on_progress": look, "programs": PROGRAMS})
    except GigaedgeError as error:
        mouth.tell("failed", error=type(error).__name__)
        raise


if __name__ == "__main__":
    run.run_site = run_site_and_tell
    cli.main()
