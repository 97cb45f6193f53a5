from __future__ import annotations

import numpy as np
import pytest

from gigaedge.errors import InputError
from gigaedge.word_embedding import TOKENS, WIDTH, embedding


def test_the_table_is_the_same_everywhere_and_for_ever() -> None:
    # Policies are trained with it: another table would make them deaf.
    found = embedding("lift the red block")
    assert found.shape == (TOKENS, WIDTH)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(
        found[:4, :2],
        np.array(
            [
                [1.6041527, 0.25673613],
                [-1.6437958, -0.9738685],
                [-1.0969479, 1.2961905],
                [-1.6944509, -0.47620428],
            ],
            np.float32,
        ),
    )
    assert not found[4:].any()


def test_words_count_and_not_how_they_are_written() -> None:
    plain = embedding("stack the red cup")
    np.testing.assert_array_equal(embedding("Stack the RED cup."), plain)
    np.testing.assert_array_equal(embedding("put the red cup")[1:], plain[1:])
    assert not np.array_equal(embedding("put the red cup")[0], plain[0])
    np.testing.assert_array_equal(embedding("stack the red cup", tokens=5, width=WIDTH)[:4], plain[:4])


def test_entries_have_unit_variance() -> None:
    many = np.concatenate([embedding(f"word{number}", tokens=1) for number in range(200)])
    assert abs(many.mean()) < 0.02
    assert abs(many.std() - 1) < 0.02


@pytest.mark.parametrize(("text", "words"), [("", 0), ("?!", 0), ("a b c d e f g h i", 9)])
def test_an_instruction_has_one_to_eight_words(text: str, words: int) -> None:
    with pytest.raises(InputError, match=f"{words} words, expected 1 to 8; say it in fewer words"):
        embedding(text)
