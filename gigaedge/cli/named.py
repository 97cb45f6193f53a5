"""Bundles that may be named instead of a folder; made once and kept in the user's cache.

demo      of a tiny random checkpoint: the machinery without a skill, quick to make and to run
trained   of the checkpoint that is shipped: it lifts the block of the physical cell (docs/training.md)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard, get_args

import typer

import gigaedge
from gigaedge.cli.common import StageProgress, needs, stage_progress
from gigaedge.cli.export import write_bundle
from gigaedge.errors import InputError

if TYPE_CHECKING:
    from gigaedge.site import NamedBundle
    from gigaedge_export.config import Generation

TRAINED_STEPS = (10, 5, 4, 2)
"""Step counts of the shipped policy's bundle, the first one its own."""


def is_named(bundle: Path | str) -> TypeGuard[NamedBundle]:
    """Whether this is a name and not a folder."""
    from gigaedge.site import NamedBundle

    return str(bundle) in get_args(NamedBundle)


def find_bundle(bundle: Path | NamedBundle, *, quiet: bool) -> Path:
    """The folder of a bundle; one that is named is made first, where that was not done yet.

    What another exporter or checkpoint made is another one: the folder's name has a hash of both.
    """
    from gigaedge.files import user_cache

    if not is_named(bundle):
        return Path(bundle)
    name: NamedBundle = "trained" if str(bundle) == "trained" else "demo"
    folder = user_cache(f"{name}-{gigaedge.__version__}-{_source_hash(name)}")
    if not (folder / "bundle" / "manifest.json").is_file():
        if not quiet:
            typer.echo(f"making the bundle {name!r} in {folder}", err=True)
        if name == "demo":
            make_random_bundle(folder, "GWP-0.5", quiet=quiet)
        else:
            make_trained_bundle(folder / "bundle", quiet=quiet)
    return folder / "bundle"


def make_random_bundle(out: Path, generation: Generation, *, quiet: bool) -> Path:
    """Write `out`/checkpoint, tiny and random, and `out`/bundle, verified; returns the bundle."""
    with needs("export,cpu"):
        from gigaedge_export.random_checkpoint import PROMPT, Sizes, write_random_checkpoint

    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint"
    with stage_progress(quiet) as begin:
        begin("making a random checkpoint")
        write_random_checkpoint(checkpoint, generation, Sizes(), smooth=True, replace=True)
        return _export(checkpoint, {"demo": checkpoint / PROMPT}, out / "bundle", (10,), begin)


def make_trained_bundle(bundle: Path, *, quiet: bool) -> Path:
    """Export the shipped checkpoint to `bundle`, verified."""
    checkpoint = trained_checkpoint()
    prompts = {file.stem: file for file in sorted((checkpoint / "prompts").glob("*.safetensors"))}
    bundle.parent.mkdir(parents=True, exist_ok=True)
    with stage_progress(quiet) as begin:
        return _export(checkpoint, prompts, bundle, TRAINED_STEPS, begin)


def _export(
    checkpoint: Path, prompts: dict[str, Path], bundle: Path, steps: tuple[int, ...], begin: StageProgress
) -> Path:
    """Write the bundle, verified; an older one is replaced."""
    with needs("export,cpu"):
        from gigaedge_export.checkpoint import CheckpointPaths, load_checkpoint
        from gigaedge_export.export import ExportOptions

    loaded = load_checkpoint(CheckpointPaths.in_directory(checkpoint), begin)
    write_bundle(loaded, prompts, bundle, ExportOptions(steps=steps), verify=True, force=True, begin=begin)
    return bundle


def trained_checkpoint() -> Path:
    """The folder of the checkpoint that comes with the exporter; `training.json` there says how it was made."""
    return _exporter() / "trained"


def _exporter() -> Path:
    """The exporter's folder, found without importing it."""
    found = find_spec("gigaedge_export")
    if found is None or found.origin is None:
        raise InputError("gigaedge_export is not installed; install gigaedge as a whole")
    return Path(found.origin).parent


def _source_hash(name: NamedBundle) -> str:
    """Of the files that decide what a bundle is."""
    core = Path(gigaedge.__file__).parent
    files = [core / module for module in ("bundle.py", "robot.py", "sampling.py")]
    files += sorted(_exporter().glob("*.py"))
    if name == "trained":
        files += sorted(path for path in trained_checkpoint().rglob("*") if path.is_file())
    return _hash(files)


def _hash(files: Iterable[Path]) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]
