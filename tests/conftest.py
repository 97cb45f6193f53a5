"""Golden recordings and bundles exported from them once per session; cameras recorded by librealsense."""

from __future__ import annotations

import gc
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gigaedge.robot import CAMERA_ROLES

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's background job ignores Ctrl-C and hands that on; the commands under test are to heed it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

GOLDEN = Path(__file__).parent / "golden"
CASES = ("gwp0-tiny", "gwp05-tiny")


@pytest.fixture(scope="session", autouse=True)
def private_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of its own for what runs leave behind: latched faults."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session", params=CASES)
def golden(request: pytest.FixtureRequest) -> Path:
    """One golden recording, with its checkpoint."""
    return GOLDEN / str(request.param)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Export a golden checkpoint; `exported(case, timesteps, layout)` makes each bundle once."""
    from gigaedge_export.checkpoint import CheckpointPaths, load_checkpoint
    from gigaedge_export.export import ExportOptions, export_bundle

    made: dict[tuple[str, str, str], Path] = {}

    def export(case: str, timesteps: str = "bf16", layout: str = "split") -> Path:
        if (case, timesteps, layout) not in made:
            folder = GOLDEN / case
            out = tmp_path_factory.mktemp("bundles") / f"{case}-{timesteps}-{layout}"
            loaded = load_checkpoint(CheckpointPaths.in_directory(folder))
            options = ExportOptions(steps=(10, 4), timesteps=timesteps, layout=layout)  # type: ignore[arg-type]
            export_bundle(loaded, {"task": folder / "io.safetensors"}, out, options)
            made[case, timesteps, layout] = out
        return made[case, timesteps, layout]

    return export


@pytest.fixture(scope="session")
def demo_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `XDG_CACHE_HOME` may name: a cache that has the bundle `demo`, which is made once."""
    from gigaedge.cli.named import find_bundle

    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        find_bundle("demo", quiet=True)
    return folder


@pytest.fixture(scope="session")
def video_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GWP-0.5's golden checkpoint, exported with its video branch and compared with PyTorch, as a person does it.

    All but the video branch is that of `exported("gwp05-tiny")`.
    """
    from tests.command_line import succeeds

    folder = GOLDEN / "gwp05-tiny"
    out = tmp_path_factory.mktemp("bundles") / "video"
    succeeds(
        *("export", "--checkpoint", folder, "--prompt", f"task={folder / 'io.safetensors'}", "--out", out),
        *("--steps", "10,4", "--video", "--video-steps", 5, "--verify"),
    )
    return out


@pytest.fixture(scope="module")
def private_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A HOME of its own: librealsense writes its statistics there when its context goes."""
    from gigaedge import librealsense

    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        yield home
        librealsense._context = None
        gc.collect()


Picture = Callable[[str, int], NDArray[np.uint8]]
"""From a role and a frame number to RGB of shape (height, width, 3)."""


@pytest.fixture(scope="module")
def record_cameras(private_home: Path) -> Callable[[Path, Picture, int, int], dict[str, Path]]:
    """`record(folder, picture, frames, fps)`: one .db3 per role, by librealsense at the speed of the camera."""
    from gigaedge import librealsense
    from gigaedge_runtime.devices.sim_realsense import SoftwareCamera

    def record(folder: Path, picture: Picture, frames: int, fps: int) -> dict[str, Path]:
        rs = librealsense.load()
        units = []
        for role in CAMERA_ROLES:
            height, width, _ = picture(role, 1).shape
            camera = SoftwareCamera(f"rec-{role}", width, height, fps)
            recorder = rs.recorder(str(folder / f"{role}.db3"), camera.device, False)
            sensor = recorder.query_sensors()[0]
            sensor.open(sensor.get_stream_profiles()[0])
            sensor.start(rs.frame_queue(50))
            units.append((role, camera, recorder, sensor))
        start = time.time()
        for number in range(1, frames + 1):
            for role, camera, _, _ in units:
                camera.push(picture(role, number), number, start + number / fps)
            time.sleep(1 / fps)
        for _, _, _, sensor in units:
            sensor.stop()
            sensor.close()
        units.clear()
        # The file is complete when the recorder is gone.
        del recorder, sensor, camera
        return {role: folder / f"{role}.db3" for role in CAMERA_ROLES}

    return record


SENTENCES = (
    "put the bowl on the plate",
    "pick up the red block with the left arm and put it into the bowl",
    "fold the towel, then open the drawer with the right hand",
    "close the drawer again and bring both arms back to where they started",
)


@pytest.fixture(scope="session")
def umt5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random umT5 encoder in the diffusers layout, as wide as the golden checkpoints' text_dim.

    Its tokenizer is trained on `SENTENCES`: <pad> 0, </s> 1, <unk> 2, as umT5's.
    """
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import UMT5Config, UMT5EncoderModel

    folder = tmp_path_factory.mktemp("umt5")
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=150, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.enable_padding(length=512)  # a folder saved after use has this on
    (folder / "tokenizer").mkdir()
    tokenizer.save(str(folder / "tokenizer" / "tokenizer.json"))
    config = UMT5Config(
        vocab_size=256,
        d_model=64,
        d_kv=16,
        d_ff=128,
        num_layers=3,
        num_heads=4,
        feed_forward_proj="gated-gelu",
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        UMT5EncoderModel(config).save_pretrained(folder / "text_encoder")
    return folder


@pytest.fixture(scope="session")
def text_encoder(umt5: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`text_encoder("fp32")` or `("int8")`: the tiny umT5, exported once each."""
    from gigaedge_export.text_encoder import export_text_encoder

    folder = tmp_path_factory.mktemp("encoders")

    def export(precision: str) -> Path:
        out = folder / precision
        if not out.exists():
            export_text_encoder(umt5, out, precision=precision)  # type: ignore[arg-type]
        return out

    return export
