"""Running bundles on the same observations, prompts and noise, for `gigaedge compare`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from gigaedge.bundle import Manifest, read_manifest
from gigaedge.cli.observations import read_observation
from gigaedge.errors import BundleError, CheckFailedError, InputError, ObservationError
from gigaedge.files import read_tensors
from gigaedge.ledger import Comparison, Errors, Timings, describe, entry
from gigaedge.machine import describe_machine
from gigaedge.sampling import Solver
from gigaedge_runtime.policy import Observation, Policy
from gigaedge_runtime.providers import EXECUTION_PROVIDERS, Provider


@dataclass(frozen=True)
class Combination:
    """One way of getting a chunk."""

    bundle: Path
    label: str
    precision: str
    steps: int
    solver: Solver

    @property
    def name(self) -> str:
        """As in the ledger."""
        return describe(self.label, self.precision, self.steps, self.solver)


class _Loader:
    """The bundle under comparison, loaded once for all its solvers and step counts."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._loaded: tuple[Path, Policy] | None = None

    def policy(self, way: Combination) -> Policy:
        """The policy of a combination; the one before it may no longer be used."""
        if self._loaded is None or self._loaded[0] != way.bundle:
            self._loaded = None  # before the next is loaded: two may not fit into memory
            self._loaded = (way.bundle, Policy.load(way.bundle, provider=self._provider))
        policy = self._loaded[1]
        policy.set_sampler(way.steps, way.solver)
        return policy


@dataclass(frozen=True)
class Plan:
    """What is compared with what."""

    reference: Combination
    manifest: Manifest
    """Of the reference."""
    combinations: tuple[Combination, ...]

    @property
    def bundles(self) -> dict[str, Path]:
        """The compared bundles by label."""
        return {each.label: each.bundle for each in self.combinations}


@dataclass(frozen=True)
class Sample:
    """One observation with everything that a chunk depends on."""

    source: Path
    composite: NDArray[np.uint8]
    """(height, width, 3)."""
    state: NDArray[np.float32]
    """Joints rad, grippers m, (14,)."""
    noises: list[NDArray[np.float32]]
    """(chunk, width) each."""
    prompt: NDArray[Any]
    """Embedding, (tokens, width) or (1, tokens, width)."""


def make_plan(bundles: Sequence[Path], reference: Path | None, reference_steps: int) -> Plan:
    """Every solver and step count of every bundle, and the reference: the first fp32 bundle unless one is given.

    Raises InputError: no reference, or bundles that do not do the same thing; BundleError: no bundle.
    """
    manifests = {path.resolve(): read_manifest(path) for path in bundles}
    if reference is None:
        chosen = next((p for p, manifest in manifests.items() if manifest.precision.coarsest == "fp32"), None)
        if chosen is None:
            found = ", ".join(sorted({manifest.precision.recipe for manifest in manifests.values()}))
            raise InputError(
                f"there is no reference: no bundle among those given is fp32 (found: {found}); "
                "add the checkpoint's fp32 bundle or pass --reference BUNDLE"
            )
    else:
        chosen = reference.resolve()
    all_manifests = manifests if chosen in manifests else {**manifests, chosen: read_manifest(chosen)}
    manifest = all_manifests[chosen]
    counts = [schedule.steps for schedule in manifest.sampler.schedules if schedule.solver == "euler"]
    if reference_steps not in counts:
        raise InputError(
            f"{chosen}: the reference has no euler table for {reference_steps} steps (it has "
            f"{', '.join(map(str, counts))}); export it with --steps {reference_steps} or pass --reference-steps"
        )
    for path, other in manifests.items():
        _check_comparable(path, other, chosen, manifest)
    labels = bundle_labels(list(all_manifests))
    return Plan(
        Combination(chosen, labels[chosen], manifest.precision.recipe, reference_steps, "euler"),
        manifest,
        tuple(
            Combination(path, labels[path], each.precision.recipe, schedule.steps, schedule.solver)
            for path, each in manifests.items()
            for schedule in each.sampler.schedules
        ),
    )


def bundle_labels(paths: list[Path]) -> dict[Path, str]:
    """Folder names, or whole paths where two folders have the same name."""
    names = [path.name for path in paths]
    return {path: path.name if names.count(path.name) == 1 else str(path) for path in paths}


def _check_comparable(path: Path, manifest: Manifest, reference: Path, expected: Manifest) -> None:
    ours, theirs = _contract(manifest), _contract(expected)
    for what, value in ours.items():
        if value != theirs[what]:
            raise InputError(
                f"{path}: {what} is {value}, that of the reference {reference} is {theirs[what]}; "
                "export both with the same options"
            )
    sources = {source.name: source.sha256 for source in expected.source}
    for source in manifest.source:
        if sources.get(source.name, source.sha256) != source.sha256:
            raise InputError(
                f"{path}: made from another {source.name} than the reference {reference}; "
                "compare bundles of one checkpoint"
            )


def _contract(manifest: Manifest) -> dict[str, str]:
    view, action, prompts = manifest.view, manifest.action, manifest.prompts
    return {
        "the chunk": f"{action.chunk} actions at {action.rate_hz:g} Hz",
        "the action width": str(action.width),
        "the view": f"{view.width}x{view.height} {view.layout} of {', '.join(view.roles)}",
        "the prompt size": f"{prompts.length} x {prompts.width}",
    }


def read_samples(
    files: Sequence[Path], plan: Plan, *, prompt: str | None, noises: int, seed: int
) -> list[Sample]:
    """The observations; noise is the recorded one, or `noises` draws; a missing prompt is the reference's first.

    Raises ObservationError or InputError, which name the file, and BundleError: the reference lacks `prompt`.
    """
    prompts, action = plan.manifest.prompts, plan.manifest.action
    name = prompt or prompts.names[0]
    if name not in prompts.names:
        raise BundleError(
            f"no prompt {name!r} in the reference {plan.reference.bundle}; it has {', '.join(prompts.names)}"
        )
    embedding = read_tensors(plan.reference.bundle / prompts.file)[name]
    samples = []
    for index, file in enumerate(files):
        recorded = read_observation(file)
        try:
            composite = recorded.compose(plan.manifest.view)
        except ObservationError as error:
            raise ObservationError(f"{file}: {error}") from error
        if recorded.noise is not None:
            drawn = [recorded.noise]
        else:
            random = np.random.default_rng((seed, index))
            shape = (action.chunk, action.width)
            drawn = [random.standard_normal(shape, np.float32) for _ in range(noises)]
        own = embedding if prompt is not None or recorded.prompt is None else recorded.prompt
        samples.append(Sample(file, composite, recorded.state, drawn, own))
    return samples


@dataclass(frozen=True)
class _Measured:
    actions: NDArray[np.float32]
    """(chunks, actions, 14), in the order of the samples and their noises."""
    timings: Timings


def count_chunks(plan: Plan, samples: Sequence[Sample], repeats: int) -> int:
    """How many chunks `run_plan` announces."""
    ways = len({plan.reference, *plan.combinations})
    chunks = sum(len(sample.noises) for sample in samples)
    return ways * chunks * ceil(repeats / chunks)


def run_plan(
    plan: Plan, samples: Sequence[Sample], *, provider: Provider, repeats: int, begin: Callable[[str], None]
) -> Comparison:
    """Run every combination and compare its actions with the reference's.

    Each is timed on at least `repeats` chunks after one for warming up. Raises CheckFailedError when an action is
    not finite.
    """
    loader = _Loader(provider)
    expected = _measure(plan.reference, samples, loader, repeats, begin)
    entries = []
    for way in plan.combinations:
        found = expected if way == plan.reference else _measure(way, samples, loader, repeats, begin)
        errors = Errors.between(found.actions, expected.actions)
        entries.append(entry(way.label, way.precision, way.steps, way.solver, errors, found.timings))
    return Comparison(
        reference=plan.reference.name,
        observations=len(samples),
        chunks=len(expected.actions),
        machine=f"{describe_machine()}; {EXECUTION_PROVIDERS[provider][0]}, ONNX Runtime {ort.__version__}",
        rate_hz=plan.manifest.action.rate_hz,
        entries=tuple(entries),
    )


def _measure(
    way: Combination,
    samples: Sequence[Sample],
    loader: _Loader,
    repeats: int,
    begin: Callable[[str], None],
) -> _Measured:
    policy = loader.policy(way)
    per_noise = ceil(repeats / sum(len(sample.noises) for sample in samples))
    actions: list[NDArray[np.float32]] = []
    timings = Timings([], [], [])
    prompt: NDArray[Any] | None = None
    for sample in samples:
        try:
            if prompt is None or not np.array_equal(prompt, sample.prompt):
                prompt = sample.prompt
                policy.set_prompt_embedding(prompt)
            for noise in sample.noises:
                observation = Observation(sample.composite, sample.state, noise)
                if not actions:
                    policy.chunk(observation)
                for _ in range(per_noise):
                    begin(f"{way.name}: {sample.source.name}")
                    start = perf_counter()
                    chunk = policy.chunk(observation)
                    timings.total.append(perf_counter() - start)
                    if "steps" in chunk.timings:
                        timings.context.append(chunk.timings["context"])
                        timings.steps.append(chunk.timings["steps"])
                actions.append(chunk.actions)
        except ObservationError as error:
            raise ObservationError(f"{sample.source}: {error}") from error
        if not np.isfinite(actions[-len(sample.noises) :]).all():
            raise CheckFailedError(
                f"{way.name}: the policy answered {sample.source} with values that are not finite"
            )
    return _Measured(np.stack(actions), timings)
