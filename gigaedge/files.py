"""Writing that is all or nothing, and reading that names what is wrong."""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import GigaedgeError, InputError

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def require_free(target: Path, *, replace: bool, option: str = "--out") -> None:
    """Raise InputError when `target`, a command's `option`, exists and is not to be replaced."""
    if os.path.lexists(target) and not replace:
        raise InputError(f"{target} exists already; remove it, choose another {option}, or pass --force")


@contextmanager
def atomic_directory(target: Path, *, mark: str, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary directory beside `target`; rename it there when the block ends well.

    Raises InputError when `target` exists and `replace` is not set, or when it is no such folder: one that has a file
    `mark`, or is empty. On any exception, Ctrl-C included, the temporary directory is removed and `target` stays as it
    was. What a killed process left is removed by the next.
    """
    require_free(target, replace=replace)
    if os.path.lexists(target) and (
        not target.is_dir() or (any(target.iterdir()) and not (target / mark).is_file())
    ):
        raise InputError(
            f"{target} is no folder that --force replaces: it has no {mark}; choose another --out"
        )
    prefix = f".{target.name}.part-"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with locked(target.parent):  # or another writer takes a folder that is not yet locked for abandoned
            for left in target.parent.glob(f"{glob.escape(prefix)}*"):
                _remove_abandoned(left)
            temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
            lock = os.open(temporary, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise InputError(f"{target}: cannot be written ({error.strerror}); choose another --out") from error
    try:
        temporary.chmod(0o755)
        yield temporary
        if target.exists():
            retired = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            os.rename(target, retired / target.name)
            os.rename(temporary, target)
            shutil.rmtree(retired)
        else:
            os.rename(temporary, target)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in _FULL:
            raise GigaedgeError(
                f"{target}: {error.strerror}; nothing was written; make room or choose another --out"
            ) from error
        raise
    finally:
        os.close(lock)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; it goes with the process that holds it. Raises OSError: no folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_abandoned(folder: Path) -> None:
    """Remove a temporary directory whose writer is gone: a living one holds its lock."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    else:
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_file(target: Path) -> Iterator[Path]:
    """Yield a temporary path beside `target`; rename it there when the block ends well.

    The content is on the disk before the name is: a robot that loses power keeps the old file or has the new one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, target)
        _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def user_cache(*names: str) -> Path:
    """A folder for what can be made again, as the XDG base directory specification places it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache.joinpath("gigaedge", *names)


def sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def read_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """All tensors of a safetensors file as numpy arrays.

    Raises InputError when the file is absent, truncated or not safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.is_file():
        raise InputError(f"{path}: no such file; pass an existing .safetensors file")
    try:
        return dict(load_file(path))
    except (SafetensorError, ValueError) as error:
        raise InputError(
            f"{path}: not a readable safetensors file ({error}); copy or download it again"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_tensors(path: Path, tensors: dict[str, NDArray[Any]]) -> None:
    """Write a safetensors file, whole or not at all."""
    from safetensors.numpy import save_file

    with atomic_file(path) as temporary:
        save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, temporary)
        temporary.chmod(0o644)
