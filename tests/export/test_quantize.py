"""Weights keep what their format can hold, and say what it cannot."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from gigaedge_export import quantize
from gigaedge_export.quantize import Blocks, as_type, channel_int8, channel_scales, half_fit


def weight(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=[1 << 22, 40])
def row_block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything at once, and a few rows at a time."""
    monkeypatch.setattr(quantize, "ROW_BLOCK", request.param)


@pytest.mark.usefixtures("row_block")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_as_type_is_a_plain_conversion(dtype: torch.dtype) -> None:
    values = weight(7, 9).to(dtype)
    np.testing.assert_array_equal(as_type(values, np.float32), values.float().numpy())
    np.testing.assert_array_equal(as_type(values, np.float16), values.half().numpy())
    np.testing.assert_array_equal(as_type(values.T, np.float32), values.T.float().numpy())
    np.testing.assert_array_equal(as_type(values[0], np.float32), values[0].float().numpy())


@pytest.mark.usefixtures("row_block")
def test_half_fit_counts_what_is_lost() -> None:
    values = torch.ones(20, 8)
    assert half_fit(values) == quantize.HalfFit(0, 0, 0.0)
    values[3, 1], values[19, 0] = 7e4, -1e9
    values[5, 5], values[6, 6], values[7, 7] = 1e-8, -2e-9, 6e-8
    fit = half_fit(values.bfloat16())
    assert (fit.overflows, fit.flushed, fit.fits) == (2, 2, False)


def test_a_weight_of_subnormals_does_not_fit() -> None:
    fit = half_fit(weight(8, 8) * 1e-7)
    assert fit.overflows == 0
    assert fit.relative_l2 > 0.05
    assert not fit.fits
    assert half_fit(weight(8, 8).bfloat16()).fits


@pytest.mark.usefixtures("row_block")
def test_channel_int8_is_within_half_a_step() -> None:
    values = weight(12, 30)
    values[4] = 0
    scales = channel_scales(values)
    levels = channel_int8(values, transpose=False)
    np.testing.assert_array_equal(channel_int8(values, transpose=True), levels.T)
    assert (
        np.abs(levels.astype(np.float32) * scales[:, None] - values.numpy()).max() <= scales.max() / 2 + 1e-6
    )
    assert (np.abs(levels).max(axis=1)[[0, 1, 2, 3, 5]] == 127).all()


def multiply(x: np.ndarray, values: torch.Tensor, blocks: Blocks) -> np.ndarray:
    """x @ values.T by ONNX Runtime's MatMulNBits."""
    outputs, inputs = values.shape
    scales = blocks.scales(values)
    node = helper.make_node(
        "MatMulNBits",
        ["x", "w", "s"],
        ["y"],
        domain="com.microsoft",
        K=inputs,
        N=outputs,
        bits=blocks.bits,
        block_size=blocks.block,
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (len(x), outputs))],
        [
            onnx.numpy_helper.from_array(blocks.packed(values), "w"),
            onnx.numpy_helper.from_array(scales.ravel(), "s"),
        ],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.usefixtures("row_block")
@pytest.mark.parametrize(("blocks", "bound"), [(Blocks(8, 128), 1e-2), (Blocks(4, 32), 0.12)])
@pytest.mark.parametrize("inputs", [256, 200, 31])
def test_onnxruntime_reads_the_blocks(blocks: Blocks, bound: float, inputs: int) -> None:
    """Its product with the stored weight is that with the original, within the format's error."""
    values, x = weight(24, inputs), np.random.default_rng(1).standard_normal((3, inputs), np.float32)
    values[2] = 0
    expected = x @ values.numpy().T
    error = np.linalg.norm(multiply(x, values, blocks) - expected) / np.linalg.norm(expected)
    assert 0 < error < bound


@given(st.lists(st.floats(-100, 100, width=32), min_size=32, max_size=32))
def test_a_block_is_within_its_step(values: list[float]) -> None:
    """Half a step everywhere, but a whole one opposite to the value farthest from zero."""
    blocks, row = Blocks(4, 32), torch.tensor([values])
    codes, step = blocks.packed(row)[0, 0], blocks.scales(row)[0, 0]
    levels = np.stack((codes & 15, codes >> 4), axis=1).ravel().astype(np.float32) - 8
    assert (np.abs(levels * step - np.array(values)) <= abs(step) * 1.001 + 1e-30).all()
