"""Checkpoints side by side: the table has what training.json says and what was counted."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import ablations
from gigaedge.cli.named import trained_checkpoint
from gigaedge.errors import InputError


def test_the_shipped_policy_in_pytorch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(trained_checkpoint()), "--episodes", "2", "--attempts", "2"]
    monkeypatch.setattr(sys, "argv", ["ablations.py", *arguments])
    ablations.main()
    header, _, row = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()
    )
    told = dict(zip(header, row, strict=True))
    assert (told["mask"], told["video loss"], told["fingertips, mm"]) == ("causal", "1", "12.1")
    assert told["success"] in ("1/2", "2/2")
    assert float(told["ms"]) > 0


def test_a_folder_that_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"training\.json: no such file; name checkpoints"):
        ablations.TorchPolicy(tmp_path)
