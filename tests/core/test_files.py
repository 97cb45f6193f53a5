from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gigaedge.errors import GigaedgeError, InputError
from gigaedge.files import (
    atomic_directory,
    atomic_file,
    read_tensors,
    user_cache,
    write_tensors,
    write_text,
)


def test_a_directory_appears_whole(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "out", mark="mark") as folder:
        (folder / "a").write_text("1")
        assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def half() -> None:
        with atomic_directory(tmp_path / "out", mark="mark") as folder:
            (folder / "a").write_text("1")
            raise error

    with pytest.raises(error):
        half()
    assert list(tmp_path.iterdir()) == []


def test_an_existing_directory_is_kept_unless_told(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mark").touch()
    with pytest.raises(InputError, match="exists already"), atomic_directory(tmp_path / "out", mark="mark"):
        pass
    with pytest.raises(RuntimeError), atomic_directory(tmp_path / "out", mark="mark", replace=True):
        raise RuntimeError
    assert (tmp_path / "out" / "mark").exists()
    with atomic_directory(tmp_path / "out", mark="mark", replace=True) as folder:
        (folder / "new").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_only_a_folder_of_its_kind_is_replaced(tmp_path: Path) -> None:
    """`--out CHECKPOINT --force` is a slip of the hand; weights that took weeks must outlive it."""
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "norm_stats.json").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    for name in ("checkpoint", "file", "link"):
        with (
            pytest.raises(InputError, match=f"{name} is no folder that --force replaces: it has no mark"),
            atomic_directory(tmp_path / name, mark="mark", replace=True),
        ):
            pass
    with (
        pytest.raises(InputError, match=r"link exists already"),
        atomic_directory(tmp_path / "link", mark="mark"),
    ):
        pass
    (tmp_path / "empty").mkdir()
    with atomic_directory(tmp_path / "empty", mark="mark", replace=True) as folder:
        (folder / "new").touch()
    assert (tmp_path / "empty" / "new").exists()
    assert (tmp_path / "checkpoint" / "norm_stats.json").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match=r"file/out: cannot be written \(.*\); choose another --out"),
        atomic_directory(tmp_path / "file" / "out", mark="mark"),
    ):
        pass


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(GigaedgeError, match=r"out: No space left on device; nothing was written"),
        atomic_directory(tmp_path / "out", mark="mark"),
    ):
        Path("/dev/full").write_text("x")
    assert list(tmp_path.iterdir()) == []


def test_a_file_appears_whole(tmp_path: Path) -> None:
    def half() -> None:
        with atomic_file(tmp_path / "f") as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert list(tmp_path.iterdir()) == []


def test_tensors_survive(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3).T
    write_tensors(tmp_path / "t.safetensors", {"a": array})
    np.testing.assert_array_equal(read_tensors(tmp_path / "t.safetensors")["a"], array)


def test_a_truncated_tensor_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    write_tensors(path, {"a": np.zeros(100, np.float32)})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"t\.safetensors: not a readable safetensors file"):
        read_tensors(path)
    with pytest.raises(InputError, match=r"none\.safetensors: no such file"):
        read_tensors(tmp_path / "none.safetensors")


WRITE = """
import sys, time
import subprocess
import sys
from pathlib import Path
from gigaedge.files import atomic_directory
with atomic_directory(Path(sys.argv[1]), mark="mark") as folder:
    (folder / "half").write_text("written")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_writer_left_is_removed_by_the_next_and_a_living_one_is_left_alone(
    tmp_path: Path,
) -> None:
    target = tmp_path / "bundle"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITE, str(target)], stdout=subprocess.PIPE) for _ in range(2)
    ]
    try:
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        assert len(list(tmp_path.iterdir())) == 2
        writers[0].kill()
        writers[0].wait()
        with atomic_directory(target, mark="mark") as folder:
            (folder / "whole").touch()
            assert len(list(tmp_path.iterdir())) == 2
        assert [path.name for path in target.iterdir()] == ["whole"]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
            assert writer.stdout is not None
            writer.stdout.close()


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache("tensorrt") == tmp_path / "gigaedge" / "tensorrt"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert user_cache() == tmp_path / "home" / ".cache" / "gigaedge"


def test_a_text_is_written_whole(tmp_path: Path) -> None:
    file = tmp_path / "reports" / "page.html"
    write_text(file, "Grüße\n")
    assert file.read_text(encoding="utf-8") == "Grüße\n"
    assert list(file.parent.iterdir()) == [file]
