"""The tensors of a diffusers folder, memory-mapped: reading them costs file pages, never anonymous memory."""

from __future__ import annotations

import json
import mmap
import struct
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gigaedge.errors import CheckpointError

DTYPES: Final = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}
"""safetensors name -> type, for what a weight may be."""
_NORESERVE: Final = getattr(mmap, "MAP_NORESERVE", 0x4000)
"""Linux's value; Python names it from 3.13 on."""


class Shards:
    """All tensors of a folder's safetensors files, by name."""

    def __init__(self, folder: Path) -> None:
        """Map every file. Raises CheckpointError for one that is missing, truncated or not safetensors."""
        self.folder = folder
        self._maps: list[mmap.mmap] = []
        self._tensors: dict[str, tuple[mmap.mmap, str, int, tuple[int, ...]]] = {}
        for path in weight_files(folder):
            self._open(path)

    def names(self) -> set[str]:
        """Every stored name."""
        return set(self._tensors)

    def shape(self, name: str) -> torch.Size:
        """Shape of a tensor."""
        return torch.Size(self._tensors[name][3])

    def tensor(self, name: str) -> Tensor:
        """A tensor in its stored type; its memory is the file's. Raises CheckpointError unless it is floating point."""
        mapped, kind, offset, shape = self._tensors[name]
        if kind not in DTYPES:
            raise CheckpointError(
                f"{self.folder}: tensor {name} is {kind}, expected floating point ({', '.join(DTYPES)})"
            )
        size, dtype = torch.Size(shape), DTYPES[kind]
        if not size.numel():
            return torch.zeros(size, dtype=dtype)
        return torch.frombuffer(mapped, dtype=dtype, count=size.numel(), offset=offset).view(size)

    def release(self) -> None:
        """Drop the pages read so far from this process; they are read again from the file when needed."""
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_DONTNEED)

    def _open(self, path: Path) -> None:
        try:
            with safe_open(path, framework="pt"):  # checks the header against the file's length
                pass
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path}: truncated or not safetensors ({error}); copy it again") from error
        with path.open("rb") as file:
            (header_bytes,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(header_bytes))
            # Private and writable, because torch warns about memory it may not write to; nothing writes to it.
            flags, access = mmap.MAP_PRIVATE | _NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
            mapped = mmap.mmap(file.fileno(), 0, flags=flags, prot=access)
        self._maps.append(mapped)
        for name, entry in header.items():
            if name in self._tensors:
                raise CheckpointError(
                    f"{path}: tensor {name} is in another shard, too; copy the checkpoint again"
                )
            if name != "__metadata__":
                offset = 8 + header_bytes + entry["data_offsets"][0]
                self._tensors[name] = (mapped, entry["dtype"], offset, tuple(entry["shape"]))


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a diffusers folder: those of the index, or the only one."""
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such folder")
    indices = sorted(folder.glob("*.safetensors.index.json"))
    if indices:
        try:
            names = {
                str(name)
                for name in json.loads(indices[0].read_text(encoding="utf-8"))["weight_map"].values()
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{indices[0]}: not a shard index ({error!r}); copy it from the checkpoint"
            ) from error
        missing = sorted(name for name in names if not (folder / name).is_file())
        if missing:
            raise CheckpointError(f"{folder}: shard {missing[0]} is missing; copy it from the checkpoint")
        return [folder / name for name in sorted(names)]
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        found = ", ".join(path.name for path in files) or "none"
        raise CheckpointError(
            f"{folder}: expected one .safetensors file or shards with an index; found {found}"
        )
    return files
