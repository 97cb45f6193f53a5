"""What a person is told to do: for every fault, and never something that drops an arm unannounced."""

from __future__ import annotations

import pytest

from gigaedge_runtime.recovery import CLEAR, ENABLE, RECOVERY, STATUS, SUPPORT, recovery_of
from gigaedge_runtime.states import FaultCode


def test_no_fault_is_without_steps() -> None:
    assert set(RECOVERY) == set(FaultCode) - {FaultCode.NONE}
    assert recovery_of(FaultCode.NONE) is RECOVERY[FaultCode.ARM]


@pytest.mark.parametrize("code", sorted(RECOVERY))
def test_steps_end_with_a_look_and_clear(code: FaultCode) -> None:
    recovery = RECOVERY[code]
    assert len(recovery.steps) >= 4
    assert recovery.steps.index(CLEAR) == recovery.steps.index(STATUS) + 1
    assert recovery.steps[-1] in (CLEAR, ENABLE)
    assert len(set(recovery.steps)) == len(recovery.steps)
    for step in recovery.steps:
        assert step[0].isupper()
        assert step.endswith((".", ".)"))
    assert not recovery.short.endswith(".")


@pytest.mark.parametrize("code", sorted(RECOVERY))
def test_the_arm_is_supported_before_its_power_goes(code: FaultCode) -> None:
    steps = RECOVERY[code].steps
    for number, step in enumerate(steps):
        if "off and on" in step or "witch the arm off" in step:
            said = [*steps[:number], step.lower()]
            assert any("support" in earlier for earlier in map(str.lower, said)), step


def test_after_an_emergency_stop_the_arm_is_held_first_and_enabled_last() -> None:
    steps = RECOVERY[FaultCode.ESTOP].steps
    assert steps.index(SUPPORT) < next(i for i, step in enumerate(steps) if "Release the button" in step)
    assert steps[-1] == ENABLE
    assert RECOVERY[FaultCode.ESTOP].short == "support the arm before you release the stop: it falls"
