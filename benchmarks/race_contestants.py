"""The contestants: each loads the same policy in its own way and takes the same chunk, host memory to host memory.

Heavy packages are imported where they are used: every contestant has a process of its own.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from gigaedge.errors import InputError
from race_course import Course

if TYPE_CHECKING:
    from gigaedge.bundle import Layout, Precision

REFERENCE: Final = "eager"
PYTORCH: Final = ("eager", "eager-onednn", "eager-bf16", "compile", "compile-bf16")
OPENVINO: Final = ("openvino", "openvino-bf16")
GIGAEDGE: Final = tuple(
    f"gigaedge-{precision}{layout}" for layout in ("", "-single") for precision in ("fp32", "int8", "int4")
)
NAMES: Final = (*PYTORCH, *OPENVINO, *GIGAEDGE)
BF16_FLAGS: Final = ("avx512_bf16", "amx_bf16", "bf16")
"""What Linux calls processors' instructions for bf16 (x86-64, Arm); without them bf16 is only emulated."""

VAE_RUNS: Final = 3
"""Of the VAE's graph alone after every lap; the shortest of all is what a race takes off."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Lap:
    """One chunk, s."""

    chunk: float
    """From picture, state and noise to normalised actions and targets, the VAE included."""
    vae: float
    """The VAE's part of it; where it cannot be told apart, the VAE's graph run once more alone."""
    cpu: float
    """Processor time of the whole process during `chunk`."""


@dataclass(frozen=True)
class Outcome:
    """What a contestant makes of the observation."""

    normalized: NDArray[np.float32]
    """(chunk, channels)."""
    targets: NDArray[np.float32]
    """(chunk, 14), rad and m."""


class Contestant(ABC):
    """A policy that is loaded when it is made, and ready for chunks."""

    vae_inside = False
    """Whether the VAE is part of a larger graph, so that its time is measured alone, after the lap."""

    @abstractmethod
    def chunk(self) -> tuple[Outcome, float]:
        """Decide on the observation; also return the VAE's seconds where they can be told apart, else 0."""

    def lap(self) -> tuple[Lap, Outcome]:
        """One timed chunk."""
        begin, used = perf_counter(), process_time()
        outcome, vae = self.chunk()
        return Lap(perf_counter() - begin, vae, process_time() - used), outcome


class OnnxContestant(Contestant):
    """Its graphs come from a bundle, with the VAE in the same graph as the transformer's prefix."""

    vae_inside = True

    @abstractmethod
    def vae_alone(self) -> None:
        """Run the VAE's graph, which is cut out of the bundle's."""

    def lap(self) -> tuple[Lap, Outcome]:
        """One timed chunk, then the VAE alone: the shortest of a few runs."""
        lap, outcome = super().lap()
        times = []
        for _ in range(VAE_RUNS):
            begin = perf_counter()
            self.vae_alone()
            times.append(perf_counter() - begin)
        return replace(lap, vae=min(times)), outcome


class PyTorch(Contestant):
    """`upstream_eager`, as it is or compiled; the VAE is gigaedge's single-frame one, which is to its advantage."""

    def __init__(self, course: Course, name: str, threads: int) -> None:
        import torch

        from gigaedge_export.checkpoint import CheckpointPaths, load_norm_stats, load_vae
        from upstream_eager import load_upstream
        from upstream_ways import compile_blocks, use_onednn

        torch.set_num_threads(threads)
        paths = CheckpointPaths.in_directory(course.checkpoint)
        given = course.given()
        self._torch = torch
        self._stats = load_norm_stats(paths.norm_stats)
        self._vae, _ = load_vae(paths.vae)
        self._composite, self._state = given.composite, given.state
        self._noise, self._prompt = torch.from_numpy(given.noise), torch.from_numpy(given.prompt)
        self._sigmas, self._timesteps = given.sigmas.tolist(), given.timesteps.tolist()
        factor = self._vae.config.spatial_factor
        self._model = load_upstream(
            paths.transformer,
            latent_size=(given.composite.shape[0] // factor, given.composite.shape[1] // factor),
            chunk=len(given.noise),
            dtype=torch.bfloat16 if name.endswith("-bf16") else torch.float32,
        )
        if name.endswith("-onednn"):
            self._model = use_onednn(self._model)
        if name.startswith("compile"):
            compile_blocks(self._model)

    def chunk(self) -> tuple[Outcome, float]:
        """See `Contestant.chunk`."""
        from upstream_ways import normalized_state, targets

        begin = perf_counter()
        with self._torch.inference_mode():
            latents = self._vae(self._torch.from_numpy(self._composite))
        vae = perf_counter() - begin
        raw = self._torch.from_numpy(self._state)
        state = normalized_state(self._stats, raw, self._noise.shape[1])
        x = self._model.sample(latents, state, self._prompt, self._noise, self._sigmas, self._timesteps)
        return Outcome(x.numpy(), targets(self._stats, raw, x).numpy()), vae


class OpenVino(OnnxContestant):
    """OpenVINO on the fp32 bundle, split, driven as gigaedge drives ONNX Runtime: tensors bound once, none copied."""

    def __init__(self, course: Course, name: str, threads: int) -> None:
        import openvino as ov  # type: ignore[import-untyped, unused-ignore]

        from gigaedge.bundle import open_bundle
        from gigaedge.sampling import coefficients

        bundle = open_bundle(course.bundle("fp32", "split"))
        graphs, self._given = bundle.manifest.graphs, course.given()
        schedule = bundle.manifest.schedule(None)
        weights = coefficients(np.array(schedule.sigmas, np.float32), schedule.solver)
        self._plan = [(schedule.first_row + index, row) for index, row in enumerate(weights)]
        core = ov.Core()
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "bf16" if name.endswith("-bf16") else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        self._arrays: dict[str, Array] = {}
        self._kept: list[Array] = []  # a request has the addresses of its arrays, and no reference to them
        for stage in ("text", "context", "step"):
            for key, info in (graphs[stage].inputs | graphs[stage].outputs).items():
                self._arrays.setdefault(key, np.zeros([int(side) for side in info.shape], info.dtype))

        def request(path: Path, replaced: dict[str, Array], model: Any = None) -> Any:
            compiled = model or core.compile_model(path, "CPU", settings)
            bound = compiled.create_infer_request()
            for port in (*compiled.inputs, *compiled.outputs):
                array = replaced.get(port.any_name, self._arrays[port.any_name])
                self._kept.append(array)
                bound.set_tensor(port, ov.Tensor(array, shared_memory=True))
            return bound

        self._arrays["prompt_embeds"][:] = self._given.prompt
        request(bundle.file(graphs["text"]), {}).infer()
        self._context = request(bundle.file(graphs["context"]), {})
        self._still = np.zeros_like(self._arrays["velocity"])
        self._actions = [self._arrays["actions"], np.zeros_like(self._arrays["actions"])]
        velocities = [self._arrays["velocity"], np.zeros_like(self._arrays["velocity"])]
        step = core.compile_model(bundle.file(graphs["step"]), "CPU", settings)
        self._steps = [
            request(
                bundle.file(graphs["step"]),
                {
                    "actions": self._actions[now],
                    "next_actions": self._actions[1 - now],
                    "previous_velocity": velocities[now],
                    "velocity": velocities[1 - now],
                },
                step,
            )
            for now in (0, 1)
        ]
        self._velocities = velocities
        self._vae = request(course.vae("fp32", "split"), {"latents": np.zeros_like(self._arrays["latents"])})

    def chunk(self) -> tuple[Outcome, float]:
        """See `Contestant.chunk`."""
        arrays = self._arrays
        arrays["composite"][:] = self._given.composite
        arrays["state"][:] = self._given.state
        self._context.infer()
        self._actions[0][:] = self._given.noise
        self._velocities[0][:] = 0
        for index, (row, weights) in enumerate(self._plan):
            arrays["row"][:] = row
            arrays["coefficients"][:] = weights
            self._steps[index % 2].infer()
        return Outcome(self._actions[len(self._plan) % 2].copy(), arrays["targets"].copy()), 0.0

    def vae_alone(self) -> None:
        """See `OnnxContestant.vae_alone`."""
        self._vae.infer()


class Gigaedge(OnnxContestant):
    """`gigaedge_runtime.Policy`, as the robot runs it."""

    def __init__(self, course: Course, name: str, threads: int) -> None:
        from gigaedge_runtime.policy import Observation, Policy
        from gigaedge_runtime.sessions import Device

        precision, layout = bundle_of(name)
        self._policy = Policy.load(course.bundle(precision, layout), threads=threads)
        given = course.given()
        self._observation = Observation(given.composite, given.state, given.noise)
        self._vae = Device("cpu", threads).session(course.vae(precision, layout))

    def chunk(self) -> tuple[Outcome, float]:
        """See `Contestant.chunk`."""
        chunk = self._policy.chunk(self._observation)
        return Outcome(chunk.normalized, chunk.actions), 0.0

    def vae_alone(self) -> None:
        """See `OnnxContestant.vae_alone`."""
        self._vae.run(["latents"], {"composite": self._observation.composite})


def contestant(course: Course, name: str, threads: int) -> Contestant:
    """Load one of `NAMES`."""
    kind = PyTorch if name in PYTORCH else OpenVino if name in OPENVINO else Gigaedge
    return kind(course, name, threads)


def import_packages(name: str) -> None:
    """Import what a contestant needs, so that the time to load is that of the policy."""
    if name in PYTORCH:
        import upstream_ways  # noqa: F401
    elif name in OPENVINO:
        import openvino  # noqa: F401
    else:
        import gigaedge_runtime.policy  # noqa: F401


def bundle_of(name: str) -> tuple[Precision, Layout]:
    """The bundle that a contestant of `OPENVINO` or `GIGAEDGE` runs."""
    if name in OPENVINO:
        return "fp32", "split"
    _, precision, *single = name.split("-")
    return precision, "single" if single else "split"  # type: ignore[return-value]


def able(*, cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[list[str], dict[str, str]]:
    """Who can start on this machine, and why the others cannot."""
    missing: dict[str, str] = {}
    if find_spec("openvino") is None:
        missing |= dict.fromkeys(OPENVINO, "openvino is not installed; run `pip install 'gigaedge[race]'`")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.is_file() else ""
    if not any(re.search(rf"\b{flag}\b", text) for flag in BF16_FLAGS):
        slow = [name for name in NAMES if name.endswith("-bf16")]
        missing |= dict.fromkeys(slow, "this processor has no bf16 arithmetic")
    return [name for name in NAMES if name not in missing], missing


def chosen(text: str) -> list[str]:
    """Contestants as in `compile,gigaedge-int8`; `all` is everybody who can start. The reference always does.

    Raises InputError for one that is unknown or cannot start.
    """
    ready, missing = able()
    if text == "all":
        return ready
    wanted = text.split(",")
    for name in wanted:
        if name not in NAMES:
            raise InputError(f"--contestants {text!r}: {name!r} is none of {', '.join(NAMES)}")
        if name in missing:
            raise InputError(f"--contestants {text!r}: {name} cannot start: {missing[name]}")
    return [name for name in NAMES if name in {REFERENCE, *wanted}]
