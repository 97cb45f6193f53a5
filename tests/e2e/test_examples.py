"""The examples run as they are, where gigaedge is not installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from gigaedge_runtime import Observation, Policy

pytestmark = pytest.mark.realtime

ONE_CALL = Path(__file__).parents[2] / "examples" / "one_call" / "chunk.py"


def one_call(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the example by an interpreter that sees onnxruntime, numpy and nothing else."""
    packages = folder / "packages"
    if not packages.exists():
        packages.mkdir()
        for package in (onnxruntime, np):
            source = Path(package.__file__).parent
            (packages / source.name).symlink_to(source)
        libraries = Path(np.__file__).parents[1] / "numpy.libs"
        if libraries.exists():
            (packages / libraries.name).symlink_to(libraries)
    script = (
        f"import runpy, sys; sys.path.append({str(packages)!r}); sys.argv = sys.argv[1:]\n"
        "try:\n    import gigaedge\nexcept ModuleNotFoundError:\n    runpy.run_path(sys.argv[0])\n"
        "else:\n    sys.exit('gigaedge is importable')"
    )
    command = [sys.executable, "-I", "-S", "-c", script, str(ONE_CALL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def chunk(folder: Path, *arguments: object) -> NDArray[np.float64]:
    result = one_call(folder, *arguments)
    assert result.returncode == 0, result.stderr
    return np.array([line.split() for line in result.stdout.splitlines()], float)


@pytest.mark.parametrize(
    ("arguments", "sampler"),
    [((), (None, "euler")), (("--steps", 4), (4, "euler")), (("--solver", "multistep"), (10, "multistep"))],
)
def test_one_call_gives_the_policys_chunk(
    exported: Callable[..., Path],
    tmp_path: Path,
    arguments: tuple[object, ...],
    sampler: tuple[int | None, str],
) -> None:
    bundle = exported("gwp05-tiny", layout="single")
    random = np.random.default_rng(1)
    picture = random.integers(0, 256, (384, 320, 3), np.uint8)
    state = random.normal(size=14).astype(np.float32)
    np.save(tmp_path / "p.npy", picture)
    np.save(tmp_path / "s.npy", state)
    given = ("--picture", tmp_path / "p.npy", "--state", tmp_path / "s.npy", "--seed", 3)
    policy = Policy.load(bundle, steps=sampler[0], solver=sampler[1], seed=3)  # type: ignore[arg-type]
    expected = policy.chunk(Observation(picture, state)).actions
    np.testing.assert_allclose(chunk(tmp_path, bundle, *given, *arguments), expected, rtol=0, atol=1e-5)


def test_one_call_says_what_it_cannot_do(exported: Callable[..., Path], tmp_path: Path) -> None:
    split = one_call(tmp_path, exported("gwp05-tiny"))
    assert (split.returncode, split.stdout) == (1, "")
    assert split.stderr.strip().endswith("layout split; export it with --layout single")
    other = one_call(tmp_path, exported("gwp05-tiny", layout="single"), "--steps", 7)
    assert other.returncode == 1
    assert other.stderr.strip().endswith("no euler schedule of 7 steps")
