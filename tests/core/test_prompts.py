"""Prompts come into a bundle and go, and it opens at every moment between."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge.bundle import PromptText, open_bundle
from gigaedge.documents import describe_file
from gigaedge.errors import BundleError, CheckpointError, InputError
from gigaedge.files import write_tensors
from gigaedge.prompts import (
    Prompt,
    add_prompts,
    fit,
    read_embedding,
    read_prompts,
    record_texts,
    remove_prompt,
)

TEXT = PromptText(text="fold the towel", encoder="0" * 64)


@pytest.fixture
def bundle(exported: Callable[..., Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported("gwp05-tiny"), tmp_path / "bundle"))


def embedding(value: float = 1.0, tokens: int = 5) -> NDArray[np.float32]:
    fitted, _ = fit(np.full((tokens, 64), value, np.float32), "test", length=64, width=64)
    return fitted


def prompt_files(bundle: Path) -> list[str]:
    return sorted(file.name for file in bundle.iterdir() if file.name.startswith((".", "prompts")))


def test_a_prompt_is_added_behind_the_others(bundle: Path) -> None:
    before = read_prompts(open_bundle(bundle))["task"].embedding
    add_prompts(bundle, {"towel": Prompt(embedding(), TEXT)})
    prompts = read_prompts(open_bundle(bundle))
    assert list(prompts) == ["task", "towel"]
    np.testing.assert_array_equal(prompts["task"].embedding, before)
    np.testing.assert_array_equal(prompts["towel"].embedding, embedding())
    assert (prompts["task"].source, prompts["towel"].source) == (None, TEXT)
    assert prompts["towel"].tokens == 5
    assert prompt_files(bundle) == [open_bundle(bundle).manifest.prompts.file]
    assert prompt_files(bundle) != ["prompts.safetensors"]


def test_a_taken_name_is_refused_unless_replaced(bundle: Path) -> None:
    with pytest.raises(
        BundleError, match="has a prompt 'task' already; choose another name, or pass --force"
    ):
        add_prompts(bundle, {"new": Prompt(embedding()), "task": Prompt(embedding())})
    assert list(read_prompts(open_bundle(bundle))) == ["task"]
    add_prompts(bundle, {"towel": Prompt(embedding())})
    for _ in range(2):  # the second time nothing changes, and the file keeps its name
        add_prompts(bundle, {"task": Prompt(embedding(2.0), TEXT)}, replace=True)
        prompts = read_prompts(open_bundle(bundle))
        assert list(prompts) == ["task", "towel"]
        assert prompts["task"].embedding[0, 0] == 2.0
        assert prompts["task"].source == TEXT
    add_prompts(bundle, {"task": Prompt(embedding())}, replace=True)
    assert read_prompts(open_bundle(bundle))["task"].source is None


def test_removing(bundle: Path) -> None:
    with pytest.raises(BundleError, match="'task' is its only prompt, and a bundle needs one"):
        remove_prompt(bundle, "task")
    with pytest.raises(BundleError, match="no prompt 'towel' in the bundle; it has task"):
        remove_prompt(bundle, "towel")
    add_prompts(bundle, {"towel": Prompt(embedding(), TEXT)})
    remove_prompt(bundle, "task")
    assert list(read_prompts(open_bundle(bundle))) == ["towel"]
    add_prompts(bundle, {"task": Prompt(embedding())})
    remove_prompt(bundle, "towel")
    assert open_bundle(bundle).manifest.prompts.texts == {}


def test_another_shape_is_refused(bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"prompt 'towel': expected \(64, 64\), got \(5, 64\)"):
        add_prompts(bundle, {"towel": Prompt(np.ones((5, 64), np.float32))})
    assert prompt_files(bundle) == ["prompts.safetensors"]


def test_texts_are_recorded(bundle: Path) -> None:
    record_texts(bundle, {"task": TEXT})
    assert read_prompts(open_bundle(bundle))["task"].source == TEXT


@pytest.mark.parametrize("step", ["replace", "unlink"])
@pytest.mark.parametrize("count", [1, 2])
def test_a_break_leaves_a_bundle(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, step: str, count: int
) -> None:
    """The edit ends at its first or second rename, or at its first removal: the old prompts, or the new ones."""
    calls = 0
    name, module = ("replace", os) if step == "replace" else ("unlink", Path)
    really = getattr(module, name)

    def breaks(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += not options  # unlink(missing_ok=True) only tidies up
        if calls == count and not options:
            raise KeyboardInterrupt
        return really(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, breaks)
        try:
            add_prompts(bundle, {"towel": Prompt(embedding())})
        except KeyboardInterrupt:
            broken = True
        else:
            broken = False
    assert broken == (step == "replace" or count == 1)
    assert list(read_prompts(open_bundle(bundle))) == ["task"] + ["towel"] * (step == "unlink")
    add_prompts(bundle, {"bowl": Prompt(embedding(3.0))})
    assert prompt_files(bundle) == [open_bundle(bundle).manifest.prompts.file]


def test_two_edits_at_a_time_both_stay(bundle: Path) -> None:
    context = multiprocessing.get_context("spawn")
    names = [f"p{index}" for index in range(3)]
    workers = [context.Process(target=_add, args=(bundle, name)) for name in names]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert sorted(read_prompts(open_bundle(bundle))) == [*names, "task"]


def _add(bundle: Path, name: str) -> None:
    for value in range(3):
        add_prompts(bundle, {name: Prompt(embedding(value + 1.0))}, replace=True)


def test_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a folder"):
        remove_prompt(tmp_path / "none", "task")
    with pytest.raises(BundleError, match="no bundle here"):
        remove_prompt(tmp_path, "task")


def test_a_name_without_an_embedding_is_found(bundle: Path) -> None:
    write_tensors(bundle / "prompts.safetensors", {"other": embedding()})
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["prompts"] |= describe_file(bundle / "prompts.safetensors")
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="prompt 'task' is missing"):
        read_prompts(open_bundle(bundle))


class TestReading:
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    @pytest.mark.parametrize("key", ["prompt_embeds", "t5_embedding"])
    def test_kinds_of_floats(self, tmp_path: Path, dtype: type[np.floating], key: str) -> None:
        values = np.linspace(-2, 2, 12).astype(dtype).reshape(1, 3, 4)
        write_tensors(tmp_path / "e.safetensors", {"other": np.zeros(1), key: values})
        found = read_embedding(tmp_path / "e.safetensors")
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, values.astype(np.float32))

    def test_bf16(self, tmp_path: Path) -> None:
        import torch
        from safetensors.torch import save_file

        values = torch.linspace(-2, 2, 12).reshape(3, 4).to(torch.bfloat16)
        save_file({"t5_embedding": values}, tmp_path / "e.safetensors")
        np.testing.assert_array_equal(read_embedding(tmp_path / "e.safetensors"), values.float().numpy())

    def test_refusals(self, tmp_path: Path) -> None:
        file = tmp_path / "e.safetensors"
        with pytest.raises(CheckpointError, match=r"e\.safetensors: no such file"):
            read_embedding(file)
        file.write_bytes(b"short")
        with pytest.raises(CheckpointError, match=r"e\.safetensors: not a readable embedding"):
            read_embedding(file)
        write_tensors(file, {"other": np.zeros(1)})
        with pytest.raises(
            CheckpointError, match="expected the key prompt_embeds or t5_embedding; found other"
        ):
            read_embedding(file)
        write_tensors(file, {"prompt_embeds": np.zeros((2, 3), np.int64)})
        with pytest.raises(CheckpointError, match=r"expected floating point, got I64 \(2, 3\)"):
            read_embedding(file)


class TestFitting:
    def test_cut_and_padded(self) -> None:
        values = np.arange(1, 13, dtype=np.float32).reshape(1, 3, 4)
        padded, nothing = fit(values, "e", length=5, width=4)
        assert nothing is None
        np.testing.assert_array_equal(padded[:3], values[0])
        assert not padded[3:].any()
        cut, notice = fit(values, "e", length=2, width=4)
        np.testing.assert_array_equal(cut, values[0, :2])
        assert notice == "e: 3 tokens cut to 2"

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (np.ones((3, 5)), "e: embedding is 5 wide, the policy's text_dim is 4"),
            (np.ones(4), r"e: expected floating point \(tokens, 4\); got \(4,\)"),
            (np.full((3, 4), np.nan), "e: embedding has NaN or infinite values"),
        ],
    )
    def test_refusals(self, values: NDArray[np.float32], message: str) -> None:
        with pytest.raises(CheckpointError, match=message):
            fit(values, "e", length=5, width=4)
