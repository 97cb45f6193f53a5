"""The encoder's report has a line per width, and operators that add up."""

from __future__ import annotations

import re

import pytest

import bench_vae


def test_a_line_per_width_with_its_operators(capsys: pytest.CaptureFixture[str]) -> None:
    bench_vae.main(base_dim=[4], threads=1, repeats=1)
    machine, line, operators = capsys.readouterr().out.splitlines()
    assert re.search(r"cores.*; onnxruntime.* 1\.\d+.*; 1 thread\(s\)$", machine)
    found = re.fullmatch(
        r"base_dim 4: ([\d.]+) ms, ([\d.]+) GFLOP, (\d+) GFLOP/s, \d+% of a matrix product's (\d+)", line
    )
    assert found is not None
    milliseconds, work, rate, _ = map(float, found.groups())
    assert work == 0.2  # 199.4 GFLOP at 160 channels
    assert rate == pytest.approx(work / milliseconds * 1e3, rel=0.5, abs=1)
    shares = [float(share) for share in re.findall(r"([\d.]+)%", operators)]
    assert "Conv " in operators
    assert 80 < sum(shares) <= 100.5
