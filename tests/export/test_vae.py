"""The encoder's cheap forms are the upstream ones, and ONNX Runtime takes them as they are meant."""

from __future__ import annotations

import platform
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bench_vae import encoder, random_vae
from gigaedge_export.config import VaeConfig
from gigaedge_export.fuse_vae import fuse_norms
from gigaedge_export.vae import ChannelNorm, DownBlock, FirstFrameVae, checkpoint_shapes, fold

NORMS = 22
"""Of an encoder with four blocks of two residual blocks: 8 x 2, 2 x 2 in the middle, attention, the last."""
BLOCKED = "com.microsoft.nchwc"
"""Domain of the operators that compute in blocks of channels."""


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> FirstFrameVae:
    """16 channels: as many as a block has."""
    return random_vae(tmp_path_factory.mktemp("vae") / "checkpoint", 16)


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_a_norm_over_rows_is_the_norm_over_channels(scale: float) -> None:
    norm, x = ChannelNorm(24, silu=False), noise(1, 24, 5, 3) * scale
    norm.gamma.data = noise(24)
    expected = F.normalize(x, dim=1) * norm.gamma.reshape(-1, 1, 1) * 24**0.5
    torch.testing.assert_close(norm(x), expected, rtol=1e-5, atol=1e-6)
    norm.silu = True
    torch.testing.assert_close(norm(x), F.silu(expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "outputs", "space", "time"),
    [(8, 8, True, False), (8, 16, True, True), (8, 8, True, True), (8, 8, False, False), (8, 4, True, True)],
)
def test_the_shortcut_averages_neighbours(inputs: int, outputs: int, space: bool, time: bool) -> None:
    block, x = DownBlock(inputs, outputs, 1, space=space, time=time), noise(1, inputs, 6, 4)
    factor, frames = 1 + space, 1 + time
    cells = F.pixel_unshuffle(x, factor).unflatten(1, (inputs, 1, factor**2))
    both = torch.cat([torch.zeros_like(cells)] * (frames - 1) + [cells], dim=2)
    expected = both.flatten(1, 3).unflatten(1, (outputs, -1)).mean(dim=2)
    torch.testing.assert_close(block.shortcut(x), expected)


@pytest.mark.parametrize("patch", [1, 2, 3])
def test_the_first_convolution_cuts_the_patches(patch: int) -> None:
    channels = 3 * patch**2
    config = VaeConfig.model_validate(
        {
            "_class_name": "AutoencoderKLWan",
            "base_dim": 4,
            "z_dim": 2,
            "dim_mult": [1],
            "num_res_blocks": 1,
            "temperal_downsample": [],
            "in_channels": channels,
            "patch_size": patch,
            "latents_mean": [0.0, 0.0],
            "latents_std": [1.0, 1.0],
            "is_residual": True,
        }
    )
    vae = FirstFrameVae(config)
    name = "encoder.conv_in.weight"
    assert checkpoint_shapes(vae)[name] == (4, channels, 3, 3, 3)
    stored, x = noise(4, channels, 3, 3, 3), noise(1, 3, 4 * patch, 5 * patch)
    cells = F.pixel_unshuffle(x, patch).unflatten(1, (3, patch, patch)).transpose(2, 3).flatten(1, 3)
    expected = F.conv2d(cells, stored[:, :, -1], padding=1)
    first = vae.encoder.conv_in
    found = F.conv2d(x, fold(name, stored, config), stride=first.stride, padding=first.padding)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_widths_that_no_average_gives_are_refused() -> None:
    known = {
        "_class_name": "AutoencoderKLWan",
        "base_dim": 4,
        "z_dim": 1,
        "num_res_blocks": 1,
        "in_channels": 12,
        "patch_size": 2,
        "latents_mean": [0.0],
        "latents_std": [1.0],
        "is_residual": True,
    }
    grown = known | {"dim_mult": [1, 2, 4], "temperal_downsample": [False, True]}
    with pytest.raises(ValueError, match="block 2: a shortcut averages 8 channels x 1 frames into 16"):
        VaeConfig.model_validate(grown)
    VaeConfig.model_validate(known | {"dim_mult": [1, 2, 2], "temperal_downsample": [False, True]})


def optimised(model: ir.Model, folder: Path) -> tuple[ort.InferenceSession, onnx.ModelProto]:
    """A session, and the graph that it runs."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    source = ir.to_proto(model).SerializeToString()
    session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    return session, onnx.load(folder / "optimised.onnx")


@pytest.mark.parametrize(("opset", "norm"), [(20, "ReduceL2"), (23, "RMSNormalization")])
def test_onnx_runtime_runs_the_encoder_as_meant(
    vae: FirstFrameVae, opset: int, norm: str, tmp_path: Path
) -> None:
    model = encoder(vae, opset, width=48, height=64)
    operators = Counter(node.op_type for node in model.graph)
    assert operators["RMSNormalization"] + operators["ReduceL2"] == operators[norm] == NORMS
    assert fuse_norms(model) == 0
    assert operators["Clip"] == (NORMS if opset < 23 else 0)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    session, runs = optimised(model, tmp_path)
    expected = vae(torch.from_numpy(picture()))
    (found,) = session.run(None, {"composite": picture()})
    error = np.linalg.norm(found - expected.numpy()) / np.linalg.norm(expected.numpy())
    assert error < 1e-5
    fused = Counter(node.op_type for node in runs.graph.node)
    assert fused["QuickGelu"] == NORMS - 1
    assert fused["Sigmoid"] == 0
    if platform.machine() != "x86_64":
        pytest.skip("blocks of channels are x86's")
    makers = {name: node for node in runs.graph.node for name in node.output}
    assert {node.domain for node in runs.graph.node if node.op_type in ("Conv", "AveragePool")} == {BLOCKED}
    norms = [node for node in runs.graph.node if node.op_type == norm]
    sources = [makers[node.input[0]] for node in norms]
    sources = [makers[node.input[0]] if node.op_type == "Reshape" else node for node in sources]
    # Convolutions pad by themselves and add where both sides are in blocks; zeros for a missing frame are left.
    assert (fused["Add"], fused["Pad"]) == (8, 2)
    # The rows come out of the blocks as rows. After an Add that no convolution takes in, a Transpose makes them.
    assert Counter(node.op_type for node in sources) == {"ReorderOutput": 15, "Transpose": 7}
    assert all(onnx.helper.get_node_attr_value(n, "channels_last") for n in sources if "Re" in n.op_type)


def test_a_cell_of_zeros_stays_zero(tmp_path: Path) -> None:
    """Upstream divides by no less than 1e-12, and so does the fused operator."""
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([2, 16]))
    gamma = ir.Value(
        name="gamma",
        type=x.type,
        shape=ir.Shape([16]),
        const_value=ir.tensor(np.ones(16, np.float32), name="gamma"),
    )

    def constant(name: str, value: float) -> ir.Value:
        tensor = ir.tensor(np.float32(value), name=name)
        return ir.Value(name=name, type=x.type, shape=ir.Shape([]), const_value=tensor)

    axes = ir.Value(name="axes", const_value=ir.tensor(np.array([-1]), name="axes"))
    width, floor = constant("width", 4.0), constant("floor", 1e-12 / 4)
    length = ir.node("ReduceL2", [x, axes], {"keepdims": 1})
    mean = ir.node("Div", [length.outputs[0], width])
    bounded = ir.node("Clip", [mean.outputs[0], floor])
    divided = ir.node("Div", [x, bounded.outputs[0]])
    scaled = ir.node("Mul", [divided.outputs[0], gamma], name="vae/norm/Mul")
    last = ir.node("Identity", scaled.outputs)
    y = last.outputs[0]
    y.name, y.type, y.shape = "y", x.type, x.shape
    graph = ir.Graph(
        [x],
        [y],
        nodes=[length, mean, bounded, divided, scaled, last],
        initializers=[gamma, axes, width, floor],
        opset_imports={"": 23},
        name="norm",
    )
    model = ir.Model(graph, ir_version=10)
    values = np.stack([np.zeros(16), np.full(16, 3e-7)]).astype(np.float32)
    before = ort.InferenceSession(ir.to_proto(model).SerializeToString()).run(None, {"x": values})[0]
    assert fuse_norms(model) == 1
    after = ort.InferenceSession(ir.to_proto(model).SerializeToString()).run(None, {"x": values})[0]
    np.testing.assert_allclose(after, before, rtol=1e-5)
    np.testing.assert_allclose(after[0], 0)
    np.testing.assert_allclose(after[1], 1, rtol=1e-5)
