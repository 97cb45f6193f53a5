"""Write the JSON schemas of every document the project reads or writes into docs/."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel

from gigaedge.benchmark import BenchReport
from gigaedge.bundle import Manifest
from gigaedge.calibration import Calibration
from gigaedge.simulation import PhysicalCell, World
from gigaedge.site import Site
from gigaedge.text_encoder import TextEncoderInfo
from gigaedge.trials import TrialsReport

DOCS = Path(__file__).parents[1] / "docs"
MODELS: dict[str, type[BaseModel]] = {
    "bench.schema.json": BenchReport,
    "calibration.schema.json": Calibration,
    "manifest.schema.json": Manifest,
    "physics.schema.json": PhysicalCell,
    "simulation.schema.json": World,
    "site.schema.json": Site,
    "text_encoder.schema.json": TextEncoderInfo,
    "trials.schema.json": TrialsReport,
}


def schemas() -> dict[str, str]:
    """File name -> content."""
    return {name: json.dumps(model.model_json_schema(), indent=1) + "\n" for name, model in MODELS.items()}


if __name__ == "__main__":
    for name, text in schemas().items():
        (DOCS / name).write_text(text, encoding="utf-8")
