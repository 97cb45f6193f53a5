from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_published_schemas_are_current() -> None:
    """After a change: python tools/write_schemas.py."""
    for name, text in runpy.run_path(str(ROOT / "tools" / "write_schemas.py"))["schemas"]().items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == text, name
