"""A sequence-locked record in shared memory: one writer, any number of readers, nobody waits for anybody.

The sequence is odd while the record is being written, and a CRC-32 (seeded with the sequence) covers it. A
reader that sees the sequence change, or whose copy does not match the CRC (a CPU may show stores in another
order), tries again, and after some tries reports "nothing new": the writer may have been killed half-way.
"""

from __future__ import annotations

import mmap
import zlib

import numpy as np
from numpy.typing import NDArray

HEADER = 16
"""Bytes in front of the record: sequence and CRC, each uint64."""

_TRIES = 64
_MASK = 0xFFFFFFFF


class Block:
    """A sequence-locked record at a fixed place of the shared memory; one process may write it."""

    def __init__(self, memory: mmap.mmap, offset: int, layout: np.dtype[np.void]) -> None:
        self._head = memoryview(memory)[offset : offset + HEADER].cast("Q")
        # Copied through memoryviews: numpy would let another thread in half-way, at odd sequence.
        self._body = memoryview(memory)[offset + HEADER : offset + HEADER + layout.itemsize]
        self.record: NDArray[np.void] = np.zeros(1, layout)
        """This process's copy, shape (1,): filled before `write`, valid after a `read` that returned True."""
        self._copy: memoryview = self.record.view(np.uint8).data
        self._seen = 0

    def write(self) -> None:
        """Publish `record`."""
        sequence = (self._head[0] | 1) + 1
        # Computed first: the shorter the odd time, the rarer a reader comes in vain.
        crc = zlib.crc32(self._copy, sequence & _MASK)
        self._head[0] = sequence - 1
        self._body[:] = self._copy
        self._head[1] = crc
        self._head[0] = sequence

    def read(self) -> bool:
        """Fetch the newest record; False when none was written yet or no consistent one could be seen."""
        for _ in range(_TRIES):
            sequence = self._head[0]
            if sequence == 0:
                return False
            if sequence & 1:
                continue
            self._copy[:] = self._body
            crc = self._head[1]
            if self._head[0] == sequence and zlib.crc32(self._copy, sequence & _MASK) == crc:
                self._seen = sequence
                return True
        return False

    @property
    def fetched(self) -> int:
        """Which record `read` got last; grows when it gets a newer one."""
        return self._seen

    @property
    def changed(self) -> bool:
        """True when something was written since the last successful `read`; costs one load."""
        return self._head[0] != self._seen
