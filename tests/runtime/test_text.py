"""A text becomes what upstream makes of it: cleaned, tokenised, encoded, cut to its true length."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import UMT5EncoderModel

from gigaedge.errors import BundleError, InputError
from gigaedge_runtime.text import TextEncoder, clean_text


@pytest.fixture(scope="module")
def encoder(text_encoder: Callable[[str], Path]) -> TextEncoder:
    return TextEncoder.load(text_encoder("fp32"))


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  fold \t the\n\ntowel ", "fold the towel"),
        ("salt &amp;amp; pepper", "salt & pepper"),
        ("&lt;left&gt; arm", "<left> arm"),
        ("the schÃ¶n bowl", "the schön bowl"),
        ("\u201cfold\u201d", '"fold"'),
        ("bowl\u00a0here", "bowl here"),
        (" &amp;nbsp; ", ""),
    ],
)
def test_cleaning(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned


@pytest.mark.parametrize("text", ["fold the towel", "pick up the red block with the left arm, then fold it"])
def test_it_agrees_with_transformers_padded_to_512(encoder: TextEncoder, umt5: Path, text: str) -> None:
    tokenizer = Tokenizer.from_file(str(umt5 / "tokenizer" / "tokenizer.json"))
    encoding = tokenizer.encode(text)
    assert len(encoding.ids) == 512
    length = sum(encoding.attention_mask)
    assert encoding.ids[length - 1] == 1
    model = UMT5EncoderModel.from_pretrained(umt5 / "text_encoder").eval()
    with torch.no_grad():
        states = model(
            torch.tensor([encoding.ids]), torch.tensor([encoding.attention_mask])
        ).last_hidden_state
    expected = states[0, :length].numpy()
    found = encoder.embed(text)
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 1e-5


def test_white_space_and_entities_make_no_difference(encoder: TextEncoder) -> None:
    np.testing.assert_array_equal(encoder.embed("fold the towel"), encoder.embed(" fold&amp;#32;the\n towel"))


def test_a_long_text_is_cut_with_a_notice(encoder: TextEncoder) -> None:
    notices: list[str] = []
    assert encoder.embed("fold the towel " * 400, notices.append).shape == (512, 64)
    assert len(notices) == 1
    assert "longer than 512 tokens, the rest is cut" in notices[0]
    encoder.embed("fold the towel", notices.append)
    assert len(notices) == 1


@pytest.mark.parametrize("text", ["", " \n", "&nbsp;"])
def test_an_empty_text_is_refused(encoder: TextEncoder, text: str) -> None:
    with pytest.raises(InputError, match="nothing is left after cleaning"):
        encoder.embed(text)


def test_int8_runs(text_encoder: Callable[[str], Path], encoder: TextEncoder) -> None:
    exact = encoder.embed("put the bowl on the plate")
    rough = TextEncoder.load(text_encoder("int8")).embed("put the bowl on the plate")
    assert np.linalg.norm(rough - exact) / np.linalg.norm(exact) < 5e-2


def test_it_needs_neither_torch_nor_transformers(text_encoder: Callable[[str], Path]) -> None:
    script = (
        "import sys\nfrom gigaedge_runtime.text import TextEncoder\n"
        f"TextEncoder.load({str(text_encoder('int8'))!r}).embed('fold the towel')\n"
        "print(sorted({'torch', 'transformers', 'onnx', 'optimum'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


class TestDamaged:
    @pytest.fixture
    def copy(self, text_encoder: Callable[[str], Path], tmp_path: Path) -> Path:
        return Path(shutil.copytree(text_encoder("fp32"), tmp_path / "encoder"))

    def refused(self, folder: Path, message: str) -> None:
        with pytest.raises(BundleError, match=message):
            TextEncoder.load(folder)

    def test_absent(self, tmp_path: Path) -> None:
        self.refused(tmp_path, r"no exported text encoder here \(text_encoder\.json is missing\)")

    @pytest.mark.parametrize("name", ["encoder.onnx", "tokenizer.json"])
    def test_files(self, copy: Path, name: str) -> None:
        content = bytearray((copy / name).read_bytes())
        content[-20] ^= 1
        (copy / name).write_bytes(content)
        self.refused(copy, f"{name} was altered")
        (copy / name).write_bytes(content[:-1])
        self.refused(copy, rf"{name} has \d+ bytes, text_encoder\.json says \d+")
        (copy / name).unlink()
        self.refused(copy, f"{name} is missing")

    def test_description(self, copy: Path) -> None:
        file = copy / "text_encoder.json"
        data = json.loads(file.read_text())
        file.write_text(json.dumps(data | {"schema": 2}))
        self.refused(copy, r"schema 2 is not known to this version \(it reads 1\)")
        file.write_text(json.dumps(data | {"precison": "int8"}))
        self.refused(copy, "unknown key `precison`; did you mean `precision`")
        file.write_text("{")
        self.refused(copy, "not valid JSON")
