"""The text encoder that optimum traces and quantises computes what transformers computes."""

from __future__ import annotations

import io
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from transformers import UMT5EncoderModel

from gigaedge.errors import CheckFailedError, CheckpointError, InputError
from gigaedge.text_encoder import open_text_encoder
from gigaedge_export import text_encoder as module
from gigaedge_export.text_encoder import export_text_encoder

IDS = [5, 9, 40, 17, 3, 88, 21, 1]


def relative(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def onnx_states(folder: Path, length: int) -> NDArray[np.float32]:
    session = ort.InferenceSession(folder / "encoder.onnx", providers=["CPUExecutionProvider"])
    tokens = np.zeros((1, length), np.int64)
    tokens[0, : len(IDS)] = IDS
    mask = (np.arange(length) < len(IDS)).astype(np.int64)[np.newaxis]
    (states,) = session.run(None, {"input_ids": tokens, "attention_mask": mask})
    return np.asarray(states[0, : len(IDS)])


@pytest.fixture(scope="module")
def expected(umt5: Path) -> NDArray[np.float32]:
    model = UMT5EncoderModel.from_pretrained(umt5 / "text_encoder").eval()
    with torch.no_grad():
        return np.asarray(model(torch.tensor([IDS])).last_hidden_state[0])


@pytest.mark.parametrize("length", [8, 31, 512])
def test_fp32_agrees_with_transformers_at_every_padding(
    text_encoder: Callable[[str], Path], expected: NDArray[np.float32], length: int
) -> None:
    assert relative(onnx_states(text_encoder("fp32"), length), expected) < 1e-5


def test_int8_is_near_and_small(text_encoder: Callable[[str], Path], expected: NDArray[np.float32]) -> None:
    full, quantised = open_text_encoder(text_encoder("fp32")), open_text_encoder(text_encoder("int8"))
    error = relative(onnx_states(text_encoder("int8"), 8), expected)
    assert 1e-4 < error < 5e-2
    assert quantised.graph.bytes < 0.7 * full.graph.bytes
    rows = quantised.fidelity.stages
    assert len(rows) == 3
    assert all(1e-4 < row.relative_l2 < 5e-2 for row in rows)
    assert all(row.relative_l2 < 1e-5 for row in full.fidelity.stages)


def test_the_description_says_what_it_is(umt5: Path, text_encoder: Callable[[str], Path]) -> None:
    folder = text_encoder("int8")
    info = open_text_encoder(folder)
    assert (info.model.layers, info.model.heads, info.model.width, info.model.vocabulary) == (3, 4, 64, 256)
    assert (info.precision, info.max_tokens, info.weights) == ("int8", 512, None)
    assert [source.name for source in info.source] == ["config.json", "model.safetensors", "tokenizer.json"]
    assert {file.name for file in folder.iterdir()} == {"encoder.onnx", "tokenizer.json", "text_encoder.json"}


def test_large_weights_stay_in_their_own_file(
    umt5: Path, text_encoder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens above 2 GiB, which is optimum's own limit; its switch makes it happen here."""
    monkeypatch.setenv("FORCE_ONNX_EXTERNAL_DATA", "1")
    for precision in ("fp32", "int8"):
        info = export_text_encoder(umt5, tmp_path / precision, precision=precision)  # type: ignore[arg-type]
        assert info.weights is not None
        assert info.weights.bytes > info.graph.bytes / 2
        found = onnx_states(tmp_path / precision, 8)
        np.testing.assert_array_equal(found, onnx_states(text_encoder(precision), 8))


def test_one_folder_with_everything(umt5: Path, expected: NDArray[np.float32], tmp_path: Path) -> None:
    flat = flatten(umt5, tmp_path / "flat")
    export_text_encoder(flat, tmp_path / "out", precision="fp32")
    assert relative(onnx_states(tmp_path / "out", 8), expected) < 1e-5


def test_a_sentencepiece_model_is_converted(umt5: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # sentencepiece's SWIG types
        import sentencepiece
    from gigaedge_runtime.text import TextEncoder

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["put the bowl on the plate", "fold the towel with the left arm"] * 20),
        model_writer=model,
        vocab_size=60,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    checkpoint = flatten(umt5, tmp_path / "flat")
    (checkpoint / "tokenizer.json").unlink()
    (checkpoint / "spiece.model").write_bytes(model.getvalue())
    export_text_encoder(checkpoint, tmp_path / "out", precision="fp32")
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    states = TextEncoder.load(tmp_path / "out").embed("put the towel on the plate")
    assert len(states) == len(pieces.encode("put the towel on the plate")) + 1
    (checkpoint / "spiece.model").write_bytes(b"nothing")
    refused(checkpoint, tmp_path, r"spiece\.model: no sentencepiece model")


def flatten(umt5: Path, folder: Path) -> Path:
    for part in ("text_encoder", "tokenizer"):
        shutil.copytree(umt5 / part, folder, dirs_exist_ok=True)
    return folder


def refused(checkpoint: Path, tmp_path: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        export_text_encoder(checkpoint, tmp_path / "refused")
    assert not [path for path in tmp_path.iterdir() if "refused" in path.name]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("config.json", r"config\.json: no such file"),
        ("model.safetensors", r"flat: no \.safetensors here"),
        ("tokenizer.json", r"flat: neither tokenizer\.json nor spiece\.model"),
    ],
)
def test_a_missing_file_is_named(umt5: Path, tmp_path: Path, name: str, message: str) -> None:
    flat = flatten(umt5, tmp_path / "flat")
    (flat / name).unlink()
    refused(flat, tmp_path, message)


def test_other_contents_are_refused(umt5: Path, tmp_path: Path) -> None:
    refused(tmp_path / "none", tmp_path, "no such folder")
    flat = flatten(umt5, tmp_path / "flat")
    config = json.loads((flat / "config.json").read_text())
    for change, message in (
        ({"model_type": "t5"}, r"config\.json: `model_type`: Input should be 'umt5'"),
        ({"vocab_size": 10}, r"tokenizer\.json: knows \d+ tokens, the encoder 10;"),
        ({"eos_token_id": 7}, r"does not end a text with token 7 \(</s>\)"),
        ({"num_layers": 4}, r"flat: weight encoder\.block\.3\.\S+ is missing"),
        ({"d_model": 32}, r"flat: transformers cannot load it"),
    ):
        (flat / "config.json").write_text(json.dumps(config | change))
        refused(flat, tmp_path, message)
    (flat / "config.json").write_text(json.dumps(config))
    (flat / "tokenizer.json").write_text("{}")
    refused(flat, tmp_path, r"tokenizer\.json: the tokenizers library cannot read it")
    (flat / "model.safetensors").write_bytes(b"short")
    shutil.copyfile(umt5 / "tokenizer" / "tokenizer.json", flat / "tokenizer.json")
    refused(flat, tmp_path, "flat: transformers cannot load it")


def test_what_is_too_far_from_pytorch_is_not_written(
    umt5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module.TOLERANCES, "int8", 1e-6)
    with pytest.raises(CheckFailedError, match=r"int8 encoder is off by .* export it with --precision fp32"):
        export_text_encoder(umt5, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_kept(umt5: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        export_text_encoder(umt5, tmp_path)
