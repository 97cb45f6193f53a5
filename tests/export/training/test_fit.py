"""A policy learns where to reach from a picture; interrupted and resumed it is the same policy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gigaedge.errors import GigaedgeError, InputError
from gigaedge_export.training.fit import Fitted, fit, learning_rate
from gigaedge_export.training.sample import OpenLoop, open_loop
from gigaedge_export.training.state import LOG, STATE, read_log
from gigaedge_export.training.team import Outcome, Part, Team
from gigaedge_export.training.weights import FlatWeights
from tests.export.training import square

EPISODES = 60


class Quiet:
    """Counts; and interrupts before the step `at` is saved."""

    def __init__(self, at: int = -1) -> None:
        self.at = at
        self.outcomes: list[Outcome] = []
        self.looks: list[OpenLoop] = []

    def trained(self, step: int, done: float, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if step == self.at:
            raise KeyboardInterrupt

    def evaluated(self, step: int, found: OpenLoop) -> None:
        self.looks.append(found)


Train = Callable[..., Fitted]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Latents that all runs share."""
    return tmp_path_factory.mktemp("square")


@pytest.fixture
def train(data: Path, tmp_path: Path) -> Train:
    """`train(seen, folder, resume, **settings)`: a run in `folder`, by default the test's own."""

    def run(
        seen: Quiet | None = None, folder: Path = tmp_path, resume: bool = False, **changes: object
    ) -> Fitted:
        folder.mkdir(exist_ok=True)
        lesson, held_out = square.lesson(data, EPISODES, square.settings(**changes))
        return fit(lesson, held_out, folder, seen or Quiet(), resume=resume)

    return run


@pytest.mark.parametrize("generation", ["GWP-0", "GWP-0.5"])
def test_it_learns_where_the_square_is(data: Path, tmp_path: Path, generation: str) -> None:
    seen, chosen = Quiet(), square.settings(steps=120, evaluate_every=60, generation=generation)
    lesson, held_out = square.lesson(data, EPISODES, chosen)
    fitted = fit(lesson, held_out, tmp_path, seen, resume=False)
    assert fitted.steps == 120
    # Shown the square of another episode, it reaches there.
    others = [*held_out[1:], held_out[0]]
    misled = [replace(one, encoded=other.encoded) for one, other in zip(held_out, others, strict=True)]
    fooled = open_loop(
        fitted.model,
        misled,
        lesson.scaling,
        torch.from_numpy(lesson.prompts),
        chunk=square.CHUNK,
        shift=chosen.action_shift,
        mask=chosen.mask,
    )
    assert fitted.evaluation.moving < 0.6 * fooled.moving
    records = read_log(tmp_path)
    assert [record["step"] for record in records if "held_out" in record] == [60, 120]
    losses = [record for record in records if "action" in record]
    assert losses[-1]["action"] < 0.3 * losses[0]["action"]
    assert losses[-1]["video"] < 0.6 * losses[0]["video"]


@pytest.mark.parametrize("changes", [{}, {"mask": "full"}, {"video_weight": 0.0}], ids=str)
def test_a_resumed_run_ends_with_the_same_weights(
    train: Train, tmp_path: Path, changes: dict[str, object]
) -> None:
    small = {"steps": 7, "save_every": 3, "evaluate_every": 100, **changes}
    whole = train(folder=tmp_path / "whole", **small)
    with pytest.raises(KeyboardInterrupt):
        train(Quiet(at=5), tmp_path / "broken", **small)
    resumed = train(folder=tmp_path / "broken", resume=True, **small)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
    assert whole.evaluation == resumed.evaluation
    assert whole.last == resumed.last


def test_two_processes_add_up_their_parts(data: Path) -> None:
    lesson, _ = square.lesson(data, EPISODES, square.settings(steps=1, jobs=2, batch=4, clips=2))
    flat = FlatWeights(lesson.new_model())
    expected, outcomes = torch.zeros_like(flat.values), []
    for rank in range(2):
        gradients = torch.zeros_like(flat.values)
        outcomes.append(Part(lesson, rank, flat.values, gradients).work(3))
        expected += gradients
    with Team(lesson, flat.values) as team:
        together = team.work(3)
    assert torch.equal(team.gradients[0], expected)
    assert together.action == sum(outcome.action for outcome in outcomes) / 2


def test_without_a_video_loss_nothing_is_imagined(train: Train) -> None:
    seen = Quiet()
    train(seen, steps=2, video_weight=0.0)
    assert {outcome.video for outcome in seen.outcomes} == {0.0}


def test_the_rate_rises_and_falls() -> None:
    rates = [learning_rate(step, step / 100, 1e-3, 10) for step in range(101)]
    assert rates[0] == pytest.approx(1e-4)
    assert max(rates) == rates[9]
    assert rates[50] == pytest.approx(1e-3 * 0.51)
    assert rates[100] == pytest.approx(2e-5)


def test_a_run_is_resumed_with_its_own_settings(train: Train, tmp_path: Path) -> None:
    train(steps=2)
    message = r"state\.pt: was begun with seed 0, not 1; pass the same"
    with pytest.raises(InputError, match=message):
        train(resume=True, steps=2, seed=1)
    (tmp_path / STATE).write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"state\.pt: damaged"):
        train(resume=True, steps=2)
    (tmp_path / STATE).unlink()
    with pytest.raises(InputError, match=r"state\.pt: no such file; there is no run to resume"):
        train(resume=True, steps=2)


def test_a_loss_that_is_not_finite_ends_the_run(train: Train) -> None:
    with pytest.raises(
        GigaedgeError, match=r"step \d+: the loss is not finite; begin again with a lower --rate"
    ):
        train(steps=40, rate=1e6, warmup=1)


def test_the_log_forgets_what_is_done_again(train: Train, tmp_path: Path) -> None:
    small = {"steps": 30, "save_every": 15, "evaluate_every": 100}
    with pytest.raises(KeyboardInterrupt):
        train(Quiet(at=25), **small)
    with (tmp_path / LOG).open("a", encoding="utf-8") as file:
        file.write('{"step": 25, "act')
    assert [record["step"] for record in read_log(tmp_path)] == [10, 20]
    train(resume=True, **small)
    steps = [json.loads(line)["step"] for line in (tmp_path / LOG).read_text(encoding="utf-8").splitlines()]
    assert steps == [10, 20, 30, 30]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "pass either minutes or steps"),
        ({"steps": 1, "minutes": 1.0}, "pass either minutes or steps"),
        ({"steps": 1, "clip_stride": 6}, "clip_stride 6 is no multiple of stride 4"),
        ({"steps": 1, "chunk": 6}, "chunk 6 is no multiple of 4"),
        ({"steps": 1, "jobs": 3}, "3 processes cannot evenly share 16 pictures, 4 of them with a future"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        square.settings(**changes)


def test_generations_differ_in_the_shift_of_the_future() -> None:
    one = square.settings(steps=1)
    assert (one.action_shift, one.video_shift) == (5.0, 2.0)
    other = replace(one, generation="GWP-0")
    assert (other.action_shift, other.video_shift) == (5.0, 5.0)
    assert replace(one, chunk=48).offsets == (0, 12, 24, 36, 48)
