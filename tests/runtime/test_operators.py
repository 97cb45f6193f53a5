"""Arithmetic and weights of nodes, against numbers worked out by hand."""

from __future__ import annotations

import pytest

from gigaedge_runtime.operators import Tensor, Work, work_of


def f32(*shape: int) -> Tensor:
    return Tensor("float", shape)


def u8(*shape: int) -> Tensor:
    return Tensor("uint8", shape)


def i8(*shape: int) -> Tensor:
    return Tensor("int8", shape)


@pytest.mark.parametrize(
    ("operator", "inputs", "output", "parameters", "expected"),
    [
        # 48 rows, 384 deep, 1536 columns: 2 * 48 * 384 * 1536 = 56 623 104.
        ("Gemm", [f32(48, 384), f32(1536, 384), f32(1536)], f32(48, 1536), 2365440, Work(56623104, 2359296)),
        ("Gemm", [f32(48, 384), f32(1536)], f32(48, 1536), 6144, Work(56623104, 2359296)),
        ("Gemm", [f32(384, 48), f32(1536)], f32(48, 1536), 6144, Work(56623104, 2359296)),
        ("FusedGemm", [f32(48, 384), f32(1536)], f32(48, 1536), 6144, Work(56623104, 2359296)),
        ("MatMul", [f32(1, 48, 384)], f32(1, 48, 1536), 0, Work(56623104, 2359296)),
        # Of two activations, nothing is a weight: 2 * 8 * 48 * 128 * 169 = 16 613 376.
        ("MatMul", [f32(8, 48, 128), f32(8, 128, 169)], f32(8, 48, 169), 0, Work(16613376, 0)),
        ("FusedMatMul", [f32(8, 48, 128), f32(8, 169, 128)], f32(8, 48, 169), 0, Work(16613376, 0)),
        (
            "DynamicQuantizeMatMul",
            [f32(48, 384), f32(1536), f32(1536)],
            f32(48, 1536),
            12288,
            Work(56623104, 589824, float32=False),
        ),
        (
            "MatMulIntegerToFloat",
            [u8(48, 384), i8(384, 1536), f32(1), f32(1536), u8(1)],
            f32(48, 1536),
            589824 + 6144,
            Work(56623104, 589824, float32=False),
        ),
        (
            "MatMulInteger",
            [u8(48, 384), i8(384, 1536), u8(1)],
            Tensor("int32", (48, 1536)),
            589824,
            Work(56623104, 589824, float32=False),
        ),
        # 4 bits in blocks of 32: 1536 x 12 blocks x 16 bytes.
        (
            "MatMulNBits",
            [f32(48, 384), u8(1536, 12, 16), f32(1536, 12)],
            f32(48, 1536),
            294912 + 73728,
            Work(56623104, 294912, float32=False),
        ),
        ("MatMulNBits", [f32(48, 384)], f32(48, 1536), 0, Work(56623104, 294912, float32=False)),
        # Every output value of 3 x 3 x 12 factors: 2 * 16 * 192 * 160 * 108 = 106 168 320.
        (
            "Conv",
            [f32(1, 12, 192, 160), f32(16, 12, 3, 3), f32(16)],
            f32(1, 16, 192, 160),
            6912 + 64,
            Work(106168320, 6912),
        ),
        # Two groups: every output value of 6 channels only.
        (
            "FusedConv",
            [f32(1, 12, 192, 160), f32(16, 6, 3, 3), f32(16), f32(1, 16, 192, 160)],
            f32(1, 16, 192, 160),
            3456 + 64,
            Work(53084160, 3456),
        ),
        # A packed weight: its size is not known. What is added has the shape of the output.
        ("Conv", [f32(1, 12, 192, 160), f32(16)], f32(1, 16, 192, 160), 64, Work()),
        ("FusedConv", [f32(1, 12, 9, 9), f32(16), f32(1, 16, 9, 9)], f32(1, 16, 9, 9), 64, Work()),
        (
            "QLinearConv",
            [u8(1, 12, 8, 8), f32(1), u8(1), i8(16, 12, 3, 3), f32(1), i8(1), f32(1), u8(1)],
            u8(1, 16, 8, 8),
            1728 + 17,
            Work(2 * 16 * 64 * 108, 1728, float32=False),
        ),
        # 8 heads, 48 queries, 169 keys, 128 wide: scores and values, 2 * 2 * 8 * 48 * 169 * 128.
        (
            "Attention",
            [f32(1, 8, 48, 128), f32(1, 8, 169, 128), f32(1, 8, 169, 128)],
            f32(1, 8, 48, 128),
            0,
            Work(33226752),
        ),
        (
            "MultiHeadAttention",
            [f32(1, 48, 1024), f32(1, 169, 1024), f32(1, 169, 1024)],
            f32(1, 48, 1024),
            0,
            Work(33226752),
        ),
        # Weights of its own: another operator of that name, which gigaedge's graphs do not have.
        ("Attention", [f32(1, 48, 1024), f32(1024, 3072), f32(3072)], f32(1, 48, 1024), 12582912, Work()),
        ("Softmax", [f32(8, 48, 169)], f32(8, 48, 169), 0, Work()),
        ("MatMul", [f32(48)], f32(48), 0, Work()),
    ],
)
def test_work(operator: str, inputs: list[Tensor], output: Tensor, parameters: int, expected: Work) -> None:
    assert work_of(operator, inputs, [output], parameters, packed_bits=4) == expected


def test_half_precision_is_not_held_against_the_rate_of_float32() -> None:
    inputs = [Tensor("float16", (48, 384)), Tensor("float16", (384, 64))]
    work = work_of("MatMul", inputs, [Tensor("float16", (48, 64))], 2 * 384 * 64)
    assert work == Work(2 * 48 * 384 * 64, 2 * 384 * 64, float32=False)


def test_keys_from_before_count_as_all_keys_do() -> None:
    new, before, all_keys = f32(1, 8, 48, 128), f32(1, 8, 121, 128), f32(1, 8, 169, 128)
    work = work_of("Attention", [new, new, new, before, before], [new, all_keys, all_keys], 0)
    assert work == Work(33226752)


def test_a_node_without_inputs_has_no_work() -> None:
    assert work_of("RandomNormal", [], [f32(2, 2)], 0) == Work()
