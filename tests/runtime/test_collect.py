"""Collecting: the same dataset however it was made. The attempts are short and rare failures are made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from gigaedge.errors import CheckFailedError, DatasetError, InputError
from gigaedge.lerobot import Dataset
from gigaedge_runtime import collect as module
from gigaedge_runtime.collect import Collected, Collection, collect
from gigaedge_runtime.tasks import FIRST_TRAINING_SEED
from gigaedge_runtime.tasks.lift_block import LiftBlock
from gigaedge_runtime.tasks.task import Array, View

FIRST = FIRST_TRAINING_SEED


class Nod(LiftBlock):
    """A left arm that turns its first joint for three frames; every third seed's expert fails."""

    name = "nod"
    instruction = "nod with the left arm"

    def succeeded(self, world: View) -> bool:
        return bool(abs(world.state[0] - world.scene.start[0]) > 1e-4)

    def expert(self, world: View, random: np.random.Generator) -> Iterator[Array]:
        wanted = 0.0 if round(1e6 * world.scene.start[1]) % 3 == 0 else 0.05
        for tick in range(3):
            targets = np.array(world.scene.start)
            targets[0] += wanted * (tick + 1)
            yield targets


class Never(Nod):
    name = "never"

    def expert(self, world: View, random: np.random.Generator) -> Iterator[Array]:
        yield from ()


@pytest.fixture(autouse=True)
def tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TASKS", {"nod": Nod(), "never": Never()})
    monkeypatch.setattr("gigaedge_runtime.tasks.mistakes.PART", 0.0)


def quietly(_: int) -> None:
    pass


def interrupting(at: int) -> Callable[[int], None]:
    """Ctrl-C after so many successes."""
    done = 0

    def advance(more: int) -> None:
        nonlocal done
        done += more
        if done == at:
            raise KeyboardInterrupt

    return advance


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Collected]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TASKS", {"nod": Nod()})
        patch.setattr("gigaedge_runtime.tasks.mistakes.PART", 0.0)
        out = tmp_path_factory.mktemp("whole") / "d"
        return out, collect(Collection("nod", 5, FIRST), out, advance=quietly)


def test_a_collection_is_a_dataset_of_what_succeeded(whole: tuple[Path, Collected]) -> None:
    out, result = whole
    assert result.complete
    assert (result.episodes, result.frames) == (5, 15)
    assert result.failed > 0  # the seeds are chosen so, by chance of the start pose
    with Dataset(out, cameras=True) as dataset:
        assert [(e.length, e.task) for e in dataset.episodes] == [(3, Nod.instruction)] * 5
        motion = dataset.episodes[4].motion()
        np.testing.assert_allclose(np.diff(motion.actions[:, 0]), 0.05, atol=1e-6)
        assert dataset.episodes[4].frame("cam_high", 2).shape == (240, 320, 3)
        assert dataset.episodes[4].frame("cam_high", 2).std() > 5
    assert not out.with_name("d.unfinished").exists()


def test_an_interrupted_collection_goes_on_to_the_same_dataset(
    whole: tuple[Path, Collected], tmp_path: Path
) -> None:
    out = tmp_path / "d"
    plan = Collection("nod", 5, FIRST)
    part = collect(plan, out, advance=interrupting(2))
    assert (part.episodes, part.complete) == (2, False)
    with Dataset(out, cameras=True) as dataset:  # valid as it is
        assert [episode.length for episode in dataset.episodes] == [3, 3]
    assert collect(plan, out, resume=True, advance=quietly) == whole[1]
    assert content(out) == content(whole[0])


def test_an_attempt_that_was_torn_is_made_again(whole: tuple[Path, Collected], tmp_path: Path) -> None:
    out = tmp_path / "d"
    plan = Collection("nod", 5, FIRST)
    collect(plan, out, advance=interrupting(1))
    (left,) = out.with_name("d.unfinished").glob("*.safetensors")
    left.unlink()  # as when the power went before its last file was written
    collect(plan, out, resume=True, advance=quietly)
    assert content(out) == content(whole[0])


def test_interrupted_before_anything_there_is_no_dataset(tmp_path: Path) -> None:
    def at_once(_: int) -> None:
        raise KeyboardInterrupt

    result = collect(Collection("never", 1, FIRST), tmp_path / "d", advance=at_once)
    assert (result.episodes, result.complete) == (0, False)
    assert not (tmp_path / "d").exists()


def test_an_expert_that_always_fails_is_not_tried_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FAILED_IN_A_ROW", 3)
    with pytest.raises(
        CheckFailedError, match="never: the expert failed 3 times in a row, at seeds up to 100002"
    ):
        collect(Collection("never", 1, FIRST), tmp_path / "d", advance=quietly)


@pytest.mark.parametrize(
    ("task", "seed", "message"),
    [
        ("nod", 99_999, "--seed 99999: seeds below 100000 are held out for trials; pass 100000 or more"),
        ("juggle", FIRST, "--task 'juggle': no such task; there are nod, never"),
    ],
)
def test_what_cannot_be_collected_is_said(task: str, seed: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Collection(task, 1, seed)


def test_an_existing_dataset_is_left_alone(whole: tuple[Path, Collected], tmp_path: Path) -> None:
    plan = Collection("nod", 5, FIRST)
    with pytest.raises(
        InputError, match="exists already; pass --resume to go on with it, remove it, or choose"
    ):
        collect(plan, whole[0], advance=quietly)
    with pytest.raises(InputError, match="nothing to go on with, it is complete; leave out --resume"):
        collect(plan, whole[0], resume=True, advance=quietly)
    with pytest.raises(InputError, match="nothing to go on with, it was not begun; leave out --resume"):
        collect(plan, tmp_path / "new", resume=True, advance=quietly)


def test_another_collection_is_not_gone_on_with(tmp_path: Path) -> None:
    out = tmp_path / "d"
    collect(Collection("nod", 3, FIRST), out, advance=interrupting(1))
    with pytest.raises(InputError, match="begun with --task nod --seed 100000; go on with those"):
        collect(Collection("nod", 3, FIRST + 1), out, resume=True, advance=quietly)
    (out / "meta" / "info.json").unlink()
    with pytest.raises(InputError, match="is no dataset, and is not replaced"):
        collect(Collection("nod", 3, FIRST), out, resume=True, advance=quietly)
    shutil.rmtree(out)
    plan = out.with_name("d.unfinished") / "collection.json"
    plan.write_text(json.dumps({"task": "nod"}))
    with pytest.raises(DatasetError, match=r"collection\.json: not readable; remove .* and begin again"):
        collect(Collection("nod", 3, FIRST), out, resume=True, advance=quietly)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        collect(Collection("nod", 1, FIRST), tmp_path / "file" / "d", advance=quietly)
