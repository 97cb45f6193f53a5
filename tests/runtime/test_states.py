"""The state machine, transition by transition."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gigaedge_runtime.states import HISTORY, Fault, FaultCode, Machine, Seen, State, Thresholds

THRESHOLDS = Thresholds(resume_tolerance=0.35, approach_tolerance=0.05, approach_timeout=20.0)
FAULT = Fault(FaultCode.ARM, "left arm: emergency stop")
DUE = Seen(armed=True, due=True, chunk=1)
DRY = Seen(armed=True, due=False, chunk=1)


def machine(*, state: State = State.DISARMED, chunk: int = 0) -> Machine:
    return Machine(THRESHOLDS, state=state, _chunk=chunk)


NEW = Seen(armed=True, due=True, chunk=2)
FAR = replace(NEW, from_measured=0.36, from_commanded=0.36)
PARK = Seen(armed=True, park=True, from_park=1.0, chunk=1)

INPUTS = {
    "nothing": Seen(),
    "chunk, not armed": replace(NEW, armed=False),
    "park, not armed": replace(PARK, armed=False),
    "armed": Seen(armed=True, chunk=1),
    "same, near": replace(NEW, chunk=1),
    "same, far": replace(FAR, chunk=1),
    "same, far, late": replace(FAR, chunk=1, now=20.1),
    "new, near": NEW,
    "new, far": FAR,
    "new, far, late": replace(FAR, now=20.1),
    "new, not due": Seen(armed=True, chunk=2),
    "park": PARK,
    "park, due": replace(NEW, park=True, from_park=1.0),
    "park, command there": replace(PARK, at_park=True, from_park=0.051),
    "park, arm there": replace(PARK, from_park=0.05),
    "park, there": replace(PARK, at_park=True, from_park=0.05),
    "park, late": replace(PARK, now=20.1),
    "park, there, late": replace(PARK, at_park=True, from_park=0.05, now=20.1),
    "stop": Seen(stop=True),
    "stop, armed": replace(NEW, stop=True),
    "stop, park": replace(PARK, stop=True, at_park=True, from_park=0.05),
    "fault": Seen(fault=FAULT),
    "fault, armed": replace(NEW, fault=FAULT),
    "fault, stop": replace(NEW, stop=True, fault=FAULT),
    "fault, park": replace(PARK, fault=FAULT, at_park=True, from_park=0.0),
}
"""Whatever one tick can see, in every combination that is told apart. Chunk 1 is the one that is followed."""

D, A, R, H, S, F, G, P = (
    State.DISARMED,
    State.APPROACH,
    State.RUNNING,
    State.HOLD,
    State.STOPPED,
    State.FAULT,
    State.PARKING,
    State.PARKED,
)
TABLE = {
    # from:                 D  A  R  H  S  F  G  P
    "nothing":             (D, A, R, H, S, F, G, P),
    "chunk, not armed":    (D, A, R, H, S, F, G, P),
    "park, not armed":     (D, A, R, H, S, F, G, P),
    "armed":               (H, H, H, H, S, F, G, P),
    "same, near":          (A, R, R, H, S, F, G, P),
    "same, far":           (A, A, R, H, S, F, G, P),
    "same, far, late":     (A, F, R, H, S, F, F, P),
    "new, near":           (A, R, R, R, S, F, G, P),
    "new, far":            (A, A, A, A, S, F, G, P),
    "new, far, late":      (A, F, A, A, S, F, F, P),
    "new, not due":        (H, H, H, H, S, F, G, P),
    "park":                (G, G, G, G, S, F, G, P),
    "park, due":           (G, G, G, G, S, F, G, P),
    "park, command there": (G, G, G, G, S, F, G, P),
    "park, arm there":     (G, G, G, G, S, F, G, P),
    "park, there":         (G, G, G, G, S, F, P, P),
    "park, late":          (G, G, G, G, S, F, F, P),
    "park, there, late":   (G, G, G, G, S, F, P, P),
    "stop":                (S, S, S, S, S, F, S, P),
    "stop, armed":         (S, S, S, S, S, F, S, P),
    "stop, park":          (S, S, S, S, S, F, S, P),
    "fault":               (F, F, F, F, F, F, F, F),
    "fault, armed":        (F, F, F, F, F, F, F, F),
    "fault, stop":         (F, F, F, F, F, F, F, F),
    "fault, park":         (F, F, F, F, F, F, F, F),
}  # fmt: skip


def test_the_table_is_whole() -> None:
    assert TABLE.keys() == INPUTS.keys()
    assert sorted((D, A, R, H, S, F, G, P)) == sorted(State)
    reached = {
        (start, end)
        for row in TABLE.values()
        for start, end in zip((D, A, R, H, S, F, G, P), row, strict=True)
    }
    expected = {(start, start) for start in State}
    expected |= {(start, F) for start in State} | {(start, S) for start in (D, A, R, H, G)}
    expected |= {(start, G) for start in (D, A, R, H)} | {(G, P)}
    expected |= {(D, A), (D, H), (A, R), (A, H), (R, A), (R, H), (H, A), (H, R)}
    assert reached == expected, "every edge of the drawing, and no other"


@pytest.mark.parametrize(
    ("start", "what", "expected"),
    [
        pytest.param(start, what, expected, id=f"{start.name.lower()}: {what}")
        for what, row in TABLE.items()
        for start, expected in zip((D, A, R, H, S, F, G, P), row, strict=True)
    ],
)
def test_every_state_on_everything_that_can_be_seen(start: State, what: str, expected: State) -> None:
    made = machine(state=start, chunk=0 if start is D else 1)
    if start is F:
        made.fault = FAULT
    assert made.step(INPUTS[what]) is expected
    assert made.transitions == (start is not expected)
    assert (made.fault is not None) == (expected is F)
    assert expected.follows == (expected in (A, R))
    assert expected.moves == (expected in (A, R, G))


@pytest.mark.parametrize(
    ("start", "chunk", "seen", "expected"),
    [
        (State.DISARMED, 0, Seen(due=True, chunk=1), State.DISARMED),
        (State.DISARMED, 0, DUE, State.APPROACH),
        (State.DISARMED, 0, DRY, State.HOLD),
        (State.APPROACH, 1, DUE, State.RUNNING),
        (State.APPROACH, 1, replace(DUE, from_commanded=0.05), State.RUNNING),
        (State.APPROACH, 1, replace(DUE, from_commanded=0.0501), State.APPROACH),
        (State.APPROACH, 1, replace(DUE, from_measured=0.351), State.APPROACH),
        (State.APPROACH, 1, replace(DUE, from_commanded=0.2, from_measured=0.2), State.APPROACH),
        (State.APPROACH, 1, replace(DUE, chunk=2, from_commanded=0.35, from_measured=0.35), State.RUNNING),
        (State.APPROACH, 1, replace(DUE, chunk=2, from_commanded=0.36, from_measured=0.36), State.APPROACH),
        (State.APPROACH, 1, DRY, State.HOLD),
        (State.APPROACH, 1, replace(DUE, now=20.0, from_commanded=1.0), State.APPROACH),
        (State.APPROACH, 1, replace(DUE, now=20.1, from_commanded=1.0), State.FAULT),
        (State.RUNNING, 1, DUE, State.RUNNING),
        (State.RUNNING, 1, DRY, State.HOLD),
        (State.RUNNING, 1, replace(DUE, from_measured=1.0), State.RUNNING),
        (State.RUNNING, 1, replace(DUE, chunk=2, from_measured=0.35), State.RUNNING),
        (State.RUNNING, 1, replace(DUE, chunk=2, from_measured=0.36), State.APPROACH),
        (State.HOLD, 1, DRY, State.HOLD),
        (State.HOLD, 1, DUE, State.HOLD),
        (State.HOLD, 1, replace(DUE, chunk=2), State.RUNNING),
        (State.HOLD, 1, replace(DUE, chunk=2, from_measured=0.35), State.RUNNING),
        (State.HOLD, 1, replace(DUE, chunk=2, from_measured=0.36), State.APPROACH),
        (State.HOLD, 1, replace(DRY, chunk=2), State.HOLD),
        (State.STOPPED, 1, replace(DUE, chunk=2, stop=True), State.STOPPED),
    ],
)
def test_transition(start: State, chunk: int, seen: Seen, expected: State) -> None:
    made = machine(state=start, chunk=chunk)
    assert made.step(seen) is expected
    assert made.transitions == (start is not expected)


@pytest.mark.parametrize("state", [s for s in State if s is not State.FAULT])
def test_a_fault_wins_over_everything_and_latches(state: State) -> None:
    made = machine(state=state)
    assert made.step(replace(DUE, stop=True, fault=FAULT)) is State.FAULT
    assert made.fault is FAULT
    assert made.history[-1].reason == "left arm: emergency stop"
    for seen in (
        DUE,
        replace(DUE, chunk=9),
        replace(DUE, stop=True),
        replace(DUE, fault=Fault(FaultCode.SEND, "x")),
    ):
        assert made.step(seen) is State.FAULT
    assert made.fault is FAULT, "the first reason stays"


@pytest.mark.parametrize("state", [s for s in State if s not in (State.FAULT, State.PARKED)])
def test_stop_ends_every_state(state: State) -> None:
    assert machine(state=state).step(replace(DUE, stop=True)) is State.STOPPED


def test_a_held_arm_does_not_resume_on_a_chunk_that_came_too_late() -> None:
    made = machine(state=State.RUNNING, chunk=1)
    made.step(DRY)
    made.step(replace(DRY, chunk=2))
    assert made.step(replace(DUE, chunk=2)) is State.HOLD
    assert made.step(replace(DUE, chunk=3)) is State.RUNNING


def test_the_time_of_an_approach_counts_from_its_own_beginning() -> None:
    made = machine(state=State.HOLD, chunk=1)
    far = replace(DUE, chunk=2, from_measured=1.0, from_commanded=1.0, now=100.0)
    assert made.step(far) is State.APPROACH
    assert made.step(replace(far, now=119.0)) is State.APPROACH
    assert made.step(replace(far, now=121.0)) is State.FAULT
    assert made.fault is not None
    assert made.fault.code is FaultCode.APPROACH
    assert made.fault.text == "the target was not reached within approach_timeout 20 s; it is 1.000 rad away"


def test_parking_has_a_time_of_its_own_and_is_not_given_up_for_a_chunk() -> None:
    made = machine(state=State.RUNNING, chunk=1)
    assert made.step(replace(PARK, now=100.0)) is State.PARKING
    assert made.step(replace(NEW, now=110.0, from_park=0.6)) is State.PARKING, "the order was withdrawn"
    assert made.step(replace(PARK, now=119.0, from_park=0.5)) is State.PARKING
    assert made.step(replace(PARK, now=121.0, from_park=0.4)) is State.FAULT
    assert made.fault is not None
    assert made.fault.code is FaultCode.APPROACH
    assert (
        made.fault.text == "the park pose was not reached within approach_timeout 20 s; it is 0.400 rad away"
    )


def test_the_story_is_told_in_words() -> None:
    made = machine()
    for seen in (DUE, DUE, DRY, replace(DUE, chunk=2, from_measured=0.5), replace(DUE, stop=True)):
        made.step(seen)
    parked = machine(state=State.HOLD, chunk=1)
    for seen in (PARK, replace(PARK, at_park=True, from_park=0.0), PARK):
        parked.step(seen)
    assert [(t.state, t.reason) for t in parked.history] == [
        (State.PARKING, "asked to park"),
        (State.PARKED, "arrived at the park pose"),
    ]
    assert [(t.state, t.reason) for t in made.history] == [
        (State.APPROACH, "first chunk (1)"),
        (State.RUNNING, "arrived at chunk 1"),
        (State.HOLD, "chunk 1 has ended and no newer one came"),
        (State.APPROACH, "chunk 2 starts 0.500 rad from the measured pose"),
        (State.STOPPED, "asked to stop"),
    ]


def test_the_story_does_not_grow_without_end() -> None:
    made = machine(state=State.RUNNING, chunk=1)
    for chunk in range(2, 2 * HISTORY):
        made.step(replace(DRY, chunk=chunk - 1))
        made.step(replace(DUE, chunk=chunk))
    assert len(made.history) == HISTORY
    assert made.transitions > HISTORY


seens = st.builds(
    Seen,
    now=st.floats(0, 100),
    stop=st.booleans(),
    armed=st.booleans(),
    fault=st.sampled_from([None, None, None, FAULT]),
    park=st.booleans(),
    at_park=st.booleans(),
    from_park=st.floats(0, 1),
    due=st.booleans(),
    chunk=st.integers(0, 5),
    from_measured=st.floats(0, 3),
    from_commanded=st.floats(0, 3),
)


@given(st.lists(seens, max_size=30))
def test_whatever_is_seen_nothing_moves_disarmed_stopped_or_faulty(story: list[Seen]) -> None:
    made, ended = machine(), False
    armed = False
    for seen in story:
        ended |= seen.stop or seen.fault is not None
        armed |= seen.armed
        state = made.step(seen)
        if ended or not armed:
            assert not state.moves
        if state.follows and seen.armed:
            assert seen.due
