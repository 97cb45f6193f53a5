from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gigaedge import bundle as bundle_module
from gigaedge.bundle import (
    Manifest,
    edit_lock,
    open_bundle,
    read_manifest,
    update_manifest,
    write_manifest,
)
from gigaedge.errors import BundleError
from gigaedge.prompts import Prompt, add_prompts


@pytest.fixture
def bundle(exported: Callable[..., Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported("gwp05-tiny"), tmp_path / "bundle"))


def edit(bundle: Path, **changes: object) -> None:
    file = bundle / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_opens_and_names_every_file(bundle: Path) -> None:
    opened = open_bundle(bundle)
    names = {info.file for info in opened.manifest.files()} | {"manifest.json"}
    assert names == {file.name for file in bundle.iterdir()}
    assert all(opened.file(info).is_file() for info in opened.manifest.files())


@pytest.mark.parametrize(
    "name", ["text.onnx", "context.onnx", "step.onnx", "weights.safetensors", "prompts.safetensors"]
)
def test_an_altered_file_is_refused(bundle: Path, name: str) -> None:
    file = bundle / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(BundleError, match=rf"{name} was altered"):
        open_bundle(bundle)


def test_a_truncated_file_is_refused(bundle: Path) -> None:
    file = bundle / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(BundleError, match=r"weights\.safetensors has \d+ bytes, manifest\.json says \d+"):
        open_bundle(bundle)


def test_a_missing_file_is_refused(bundle: Path) -> None:
    (bundle / "step.onnx").unlink()
    with pytest.raises(BundleError, match=r"step\.onnx is missing"):
        open_bundle(bundle)


@pytest.mark.parametrize("schema", [2, None, "1"])
def test_an_unknown_schema_is_refused(bundle: Path, schema: object) -> None:
    edit(bundle, schema=schema)
    with pytest.raises(BundleError, match=r"schema .* is not known to this version \(it reads 1\)"):
        open_bundle(bundle)


def test_an_unknown_key_names_the_nearest(bundle: Path) -> None:
    edit(bundle, precisoin={"recipe": "fp32"})
    with pytest.raises(BundleError, match=r"unknown key `precisoin`; did you mean `precision`\?"):
        open_bundle(bundle)


def test_a_file_name_cannot_leave_the_folder(bundle: Path) -> None:
    data = json.loads((bundle / "manifest.json").read_text())
    edit(bundle, weights=data["weights"] | {"file": "../weights.safetensors"})
    with pytest.raises(BundleError, match=r"weights\.file"):
        open_bundle(bundle)


def test_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no bundle here \(manifest\.json is missing\)"):
        open_bundle(tmp_path)


def test_an_unknown_step_count_says_what_there_is(bundle: Path) -> None:
    manifest = open_bundle(bundle).manifest
    assert manifest.schedule(None).steps == 10
    assert manifest.schedule(4).first_row == 10
    assert manifest.schedule(4, "multistep").first_row == 24
    with pytest.raises(BundleError, match=r"no euler table for 7 steps \(it has 10, 4\)"):
        manifest.schedule(7)
    with pytest.raises(BundleError, match=r"no solver 'heun'; it has euler, multistep"):
        manifest.schedule(None, "heun")  # type: ignore[arg-type]


def test_a_shared_weight_is_stored_once(exported: Callable[..., Path]) -> None:
    """Every block of GWP-0 serves context and step; the file holds it once."""
    from safetensors import safe_open

    with safe_open(exported("gwp0-tiny") / "weights.safetensors", "np") as file:
        names = list(file.keys())
    blocks = [name for name in names if ".blocks.0.ffn." in name and name.endswith("weight")]
    assert sorted(blocks) == [
        "transformer.blocks.0.ffn.net.0.proj.weight",
        "transformer.blocks.0.ffn.net.2.weight",
    ]


def test_a_layout_has_its_graphs(bundle: Path) -> None:
    edit(bundle, layout="single")
    with pytest.raises(BundleError, match="layout single needs policy"):
        open_bundle(bundle)


def test_an_edit_while_it_is_opened_is_seen(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest read first names a file that is gone when it is looked at."""
    stale = read_manifest(bundle)
    add_prompts(bundle, {"towel": Prompt(np.zeros((64, 64), np.float32))})
    answers = [stale, read_manifest(bundle), read_manifest(bundle)]
    monkeypatch.setattr(bundle_module, "read_manifest", lambda path: answers.pop(0))
    assert open_bundle(bundle).manifest.prompts.names == ("task", "towel")


def test_an_update_waits_for_an_edit(bundle: Path) -> None:
    """As `compare --write` beside `prompt add`: neither undoes the other."""
    begun = threading.Event()

    def opset(manifest: Manifest) -> Manifest:
        return manifest.model_copy(update={"opset": 7})

    def update() -> None:
        begun.set()
        update_manifest(bundle, opset)

    worker = threading.Thread(target=update)
    with edit_lock(bundle):
        manifest = read_manifest(bundle)
        worker.start()
        begun.wait()
        worker.join(0.2)
        assert worker.is_alive()
        write_manifest(bundle, manifest.model_copy(update={"gigaedge": "other"}))
    worker.join()
    after = read_manifest(bundle)
    assert (after.opset, after.gigaedge) == (7, "other")


def test_a_manifest_is_replaced_whole_or_not_at_all(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (bundle / "manifest.json").read_bytes()

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        with pytest.raises(OSError, match="no space left"):
            write_manifest(bundle, read_manifest(bundle))
    assert (bundle / "manifest.json").read_bytes() == before
    assert len(list(bundle.iterdir())) == 6
    write_manifest(bundle, read_manifest(bundle))
    assert (bundle / "manifest.json").read_bytes() == before
