"""The demo bundle's place in the user's cache."""

from __future__ import annotations

from pathlib import Path

import pytest

import gigaedge
from gigaedge.cli import demo


def test_a_bundle_of_another_exporter_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made: list[Path] = []

    def make(out: Path, generation: str, *, quiet: bool) -> Path:
        made.append(out)
        (out / "bundle").mkdir(parents=True)
        (out / "bundle" / "manifest.json").write_text("{}")
        return out / "bundle"

    monkeypatch.setattr(demo, "make_demo_bundle", make)
    make(tmp_path / "gigaedge" / f"demo-{gigaedge.__version__}", "GWP-0.5", quiet=True)
    first = demo.cached_demo_bundle(quiet=True)
    assert demo.cached_demo_bundle(quiet=True) == first
    assert len(made) == 2, "the one without a hash is of an older version"
    monkeypatch.setattr(demo, "_exporter_hash", lambda: "another")
    assert demo.cached_demo_bundle(quiet=True) != first


def test_the_hash_is_of_the_source_and_imports_none_of_it() -> None:
    assert demo._exporter_hash() == demo._exporter_hash()
    assert len(demo._exporter_hash()) == 12
