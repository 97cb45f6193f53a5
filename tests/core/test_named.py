"""Bundles that are named and not given: their place in the user's cache."""

from __future__ import annotations

from pathlib import Path

import pytest

import gigaedge
from gigaedge.cli import named
from gigaedge.site import NamedBundle


@pytest.mark.parametrize(
    ("name", "maker"), [("demo", "make_random_bundle"), ("trained", "make_trained_bundle")]
)
def test_a_bundle_of_another_exporter_is_not_taken(
    name: NamedBundle, maker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made: list[Path] = []

    def make(out: Path, *_: object, quiet: bool) -> Path:
        made.append(out)
        bundle = out if out.name == "bundle" else out / "bundle"
        bundle.mkdir(parents=True)
        (bundle / "manifest.json").write_text("{}")
        return bundle

    monkeypatch.setattr(named, maker, make)
    make(tmp_path / "gigaedge" / f"{name}-{gigaedge.__version__}", quiet=True)
    first = named.find_bundle(name, quiet=True)
    assert first.parent.name.startswith(f"{name}-")
    assert named.find_bundle(name, quiet=True) == first
    assert len(made) == 2, "the one without a hash is of an older version"
    monkeypatch.setattr(named, "_hash", lambda files: "another")
    assert named.find_bundle(name, quiet=True) != first


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert named.find_bundle(tmp_path, quiet=True) == tmp_path
    assert not named.is_named(tmp_path)


def test_the_hash_is_of_the_checkpoint_too() -> None:
    hashes = [named._source_hash(name) for name in ("demo", "trained", "demo")]
    assert hashes[0] == hashes[2] != hashes[1]
    assert len(hashes[0]) == 12
