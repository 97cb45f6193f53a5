"""What a run of the simulated cell becomes, and what is said when it fails; the run itself is in tests/e2e."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gigaedge.benchmark import PATH_STAGES, Distribution
from gigaedge.bundle import open_bundle
from gigaedge.errors import ArmError, BundleError, CheckFailedError, InputError, ProcessError
from gigaedge.site import Site
from gigaedge_runtime import path_bench
from gigaedge_runtime.path_bench import distribution, measure_path, path_info
from gigaedge_runtime.report import ControlReport, PathReport, PolicyReport, RunReport, Spread
from tests.runtime.test_report import CONTROL

SAMPLES = [0.010, 0.011, 0.013]
SPREAD = Spread.of(SAMPLES)
PATH = PathReport(dict.fromkeys(PATH_STAGES, SPREAD), {}, SPREAD, SPREAD, SPREAD, by_arrival=0)
POLICY = PolicyReport(3, {}, 0, {"total": SPREAD}, path=PATH)
BUSY: ControlReport = replace(CONTROL, period=SPREAD, work=SPREAD, missed=4, late={"stolen": 2})
REPORT = RunReport("duration", None, 5.0, False, control=BUSY, policy=POLICY)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[RunReport | Exception], list[Site]]:
    """Put an outcome in place of the run; returns where the sites that were to be run are noted."""

    def stage(outcome: RunReport | Exception) -> list[Site]:
        sites: list[Site] = []

        def run_site(site: Site, **options: Any) -> RunReport:
            sites.append(site)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        monkeypatch.setattr(path_bench, "run_site", run_site)
        return sites

    return stage


def test_a_spread_in_ms() -> None:
    expected = Distribution.of(SAMPLES).model_dump()
    assert distribution(SPREAD).model_dump() == pytest.approx(expected)


def test_what_a_run_found() -> None:
    info = path_info(REPORT, arms=2, lasts=1.6)
    assert tuple(info.stages) == PATH_STAGES
    assert (info.arms, info.duration_s, info.chunks) == (2, 5.0, 3)
    assert info.exposure_to_can.p50 == pytest.approx(11.0)
    assert info.host.max == info.tick_work.max == pytest.approx(13.0)
    assert info.tick_period.min == pytest.approx(10.0)
    assert (info.deadline_misses, info.late) == (4, {"stolen": 2})


@pytest.mark.parametrize(
    ("policy", "text"),
    [
        (
            replace(POLICY, path=None),
            "the simulated cell with 1 arm: no chunk came in time to be followed; a chunk lasts 1.60 s, half of them "
            "took 0.01 s from exposure, or longer; run longer, or choose fewer steps or a faster provider",
        ),
        (
            PolicyReport(0, {}, 0, {}),
            "the simulated cell with 1 arm: no chunk came in time to be followed; a chunk lasts 1.60 s, none was made; "
            "run longer, or choose fewer steps or a faster provider",
        ),
    ],
)
def test_a_run_in_which_no_chunk_was_followed(policy: PolicyReport, text: str) -> None:
    with pytest.raises(CheckFailedError) as error:
        path_info(replace(REPORT, policy=policy), arms=1, lasts=1.6)
    assert str(error.value) == text


@pytest.mark.parametrize("arms", [1, 2])
def test_the_cell_is_as_asked(
    exported: Callable[..., Path], run: Callable[[RunReport | Exception], list[Site]], arms: int
) -> None:
    sites = run(REPORT)
    measure_path(exported("gwp05-tiny"), arms=arms, seconds=3.0, threads=2, steps=4, solver="multistep")
    (site,) = sites
    assert [arm.driver for arm in site.arms] == ["sim", "sim" if arms == 2 else "absent"]
    assert {(c.driver, c.width, c.height, c.fps) for c in site.cameras} == {("sim", 640, 480, 30)}
    inference = site.inference
    assert (inference.steps, inference.solver, inference.threads) == (4, "multistep", 2)
    assert site.execution.handover == "rtc", "as a site has it unless it says otherwise"
    assert site.timing.replan_after == 6


def test_short_chunks_and_those_that_cannot_be_guided_are_run_as_they_can_be(
    exported: Callable[..., Path],
    run: Callable[[RunReport | Exception], list[Site]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sites = run(REPORT)
    opened = open_bundle(exported("gwp05-tiny"))
    action = opened.manifest.action.model_copy(update={"chunk": 8})
    short = replace(opened, manifest=opened.manifest.model_copy(update={"action": action}))
    monkeypatch.setattr(path_bench, "open_bundle", lambda path: short)
    monkeypatch.setattr(path_bench, "takes_guidance", lambda graph: False)
    measure_path(opened.path, arms=1, seconds=3.0)
    assert sites[0].timing.replan_after == 4
    assert sites[0].execution.handover == "crossfade"


def test_how_it_fails(
    exported: Callable[..., Path], run: Callable[[RunReport | Exception], list[Site]], tmp_path: Path
) -> None:
    bundle = exported("gwp05-tiny")
    with pytest.raises(InputError, match="arms: expected 1 or 2, got 3"):
        measure_path(bundle, arms=3, seconds=1.0)
    with pytest.raises(BundleError):
        measure_path(tmp_path, arms=2, seconds=1.0)
    run(ArmError("left arm: feedback is 250 ms old"))
    with pytest.raises(
        ProcessError,
        match="the simulated cell with 2 arms did not run to its end: left arm: feedback is 250 ms old; "
        "the devices are simulated, so this machine was too busy: close other programs, then try again",
    ):
        measure_path(bundle, arms=2, seconds=1.0)
    run(CheckFailedError("chunk 3 is refused"))
    with pytest.raises(CheckFailedError, match="chunk 3 is refused"):
        measure_path(bundle, arms=2, seconds=1.0)
    run(replace(REPORT, ended_by="signal"))
    with pytest.raises(KeyboardInterrupt):
        measure_path(bundle, arms=2, seconds=1.0)
