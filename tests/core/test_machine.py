from __future__ import annotations

from pathlib import Path

import pytest

from gigaedge.machine import describe_machine

CPU = (
    "processor\t: 0\nvendor_id\t: X\nmodel name\t: Fast(R) CPU @ 3.00GHz\nprocessor\t: 1\nmodel name\t: no\n"
)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "cpuinfo").write_text(CPU)
    return tmp_path


def test_a_workstation(proc: Path) -> None:
    for number in ("0000:01:00.0", "0000:02:00.0"):
        folder = proc / "driver" / "nvidia" / "gpus" / number
        folder.mkdir(parents=True)
        (folder / "information").write_text(f"Model: \t\t NVIDIA {number[5:7]}\nIRQ:   \t\t 171\n")
    name = describe_machine(proc=proc, board=proc / "none")
    assert name.startswith("Fast(R) CPU @ 3.00GHz, ")
    assert name.endswith(" cores, NVIDIA 01, NVIDIA 02")


def test_a_board_says_its_own_name(proc: Path) -> None:
    board = proc / "model"
    board.write_bytes(b"NVIDIA Jetson AGX Orin Developer Kit\0")
    assert describe_machine(proc=proc, board=board).startswith("NVIDIA Jetson AGX Orin Developer Kit, ")


def test_a_machine_that_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert describe_machine(proc=tmp_path, board=tmp_path / "none").startswith("riscv64, ")


def test_this_machine() -> None:
    assert " cores" in describe_machine()
