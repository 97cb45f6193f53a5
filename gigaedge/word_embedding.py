"""Instructions as a policy in simulation gets them: one fixed random vector per word, from a hash of the word.

A policy that is trained here knows a handful of instructions, which a language model of 5 billion parameters would be
wasted on. The table has an entry for every word there is and is stored nowhere: the vector of a word is drawn with the
SHA-256 of its lower-case letters as the seed. The result has the form of an umT5 embedding, only smaller, and goes the
same ways.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import InputError

TOKENS: Final = 8
WIDTH: Final = 64


def embedding(instruction: str, tokens: int = TOKENS, width: int = WIDTH) -> NDArray[np.float32]:
    """The words of an instruction, one per row, then zeros; shape (tokens, width), every entry of unit variance.

    Punctuation and case say nothing. Raises InputError: no word, or more words than `tokens`.
    """
    words = re.findall(r"[a-z0-9]+", instruction.lower())
    if not 1 <= len(words) <= tokens:
        raise InputError(
            f"instruction {instruction!r}: {len(words)} words, expected 1 to {tokens}; say it in fewer words"
        )
    table = np.zeros((tokens, width), np.float32)
    for row, word in enumerate(words):
        table[row] = _vector(word, width)
    return table


def _vector(word: str, width: int) -> NDArray[np.float32]:
    # The generator's stream is part of the table: PCG64 and the ziggurat of numpy are fixed by numpy's policy for
    # `Generator` only within a version, so the numbers are made of raw 64-bit words, which never change.
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
    uniform = np.random.PCG64(seed).random_raw(width) / 2.0**64
    return np.asarray((uniform - 0.5) * np.sqrt(12.0), np.float32)
