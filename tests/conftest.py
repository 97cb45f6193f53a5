"""Golden recordings, and bundles exported from them once per session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden"
CASES = ("gwp0-tiny", "gwp05-tiny")


@pytest.fixture(scope="session", params=CASES)
def golden(request: pytest.FixtureRequest) -> Path:
    """One golden recording, with its checkpoint."""
    return GOLDEN / str(request.param)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Export a golden checkpoint; `exported(case, timesteps)` makes each bundle once."""
    from gigaedge_export.checkpoint import CheckpointPaths
    from gigaedge_export.export import ExportOptions, export_bundle, load_checkpoint

    made: dict[tuple[str, str], Path] = {}

    def export(case: str, timesteps: str = "bf16") -> Path:
        if (case, timesteps) not in made:
            folder = GOLDEN / case
            out = tmp_path_factory.mktemp("bundles") / f"{case}-{timesteps}"
            loaded = load_checkpoint(CheckpointPaths.in_directory(folder), lambda what: None)
            options = ExportOptions(steps=(10, 4), timesteps=timesteps)  # type: ignore[arg-type]
            export_bundle(loaded, {"task": folder / "io.safetensors"}, out, options)
            made[case, timesteps] = out
        return made[case, timesteps]

    return export
