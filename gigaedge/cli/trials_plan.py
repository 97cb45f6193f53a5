"""What is to be tried: every task with every bundle, step count and mode, refused early where it cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gigaedge.bundle import Manifest, read_manifest
from gigaedge.cli.comparison import bundle_labels
from gigaedge.errors import BundleError, InputError
from gigaedge.sampling import Solver
from gigaedge.site import Site
from gigaedge.trials import EXPERT, MODES, EpisodeInfo, Mode, RowInfo, SummaryInfo
from gigaedge.trials_page import Clip
from gigaedge_runtime.executor import takes_guidance
from gigaedge_runtime.trials import Contender, prompt_of


@dataclass(frozen=True)
class Way:
    """One bundle in one manner."""

    bundle: Path
    label: str
    manifest: Manifest
    steps: int
    solver: Solver
    mode: Mode

    def prompt(self, task: str, site: Site) -> str:
        """The prompt's name. Raises BundleError: there is none for the task."""
        return prompt_of(self.manifest, task, site.prompt, self.bundle)


@dataclass(frozen=True)
class RowPlan:
    """A row to be made."""

    task: str
    instruction: str | None
    way: Way | None
    """None: the task's expert."""
    mode: Mode
    blind: bool = False
    latency: float | None = None

    @property
    def name(self) -> str:
        """As in `int8, 5 steps, rtc`, without the task."""
        way = self.way
        policy = EXPERT if way is None else f"{way.label}, {way.steps} steps"
        return ", ".join([policy, self.mode, *(["blind"] if self.blind else [])])

    def contender(self) -> Contender:
        """As the worker processes get it."""
        way = self.way
        return Contender(
            None if way is None else way.bundle,
            None if way is None else way.steps,
            self.mode,
            self.latency or 0.0,
            self.blind,
        )

    def row(self, episodes: Sequence[EpisodeInfo]) -> RowInfo:
        """The row with what came of it: at least one episode."""
        way = self.way
        return RowInfo(
            task=self.task,
            instruction=self.instruction,
            policy=EXPERT if way is None else way.label,
            precision=None if way is None else way.manifest.precision.coarsest,
            steps=None if way is None else way.steps,
            solver=None if way is None else way.solver,
            mode=self.mode,
            blind=self.blind,
            latency=self.latency,
            episodes=tuple(episodes),
            summary=SummaryInfo.of(episodes),
        )


def parse_modes(text: str) -> tuple[Mode, ...]:
    """`rtc,fade` -> both. Raises InputError: another word, or one twice."""
    words = text.split(",")
    modes = tuple(mode for word in words for mode in MODES if mode == word)
    if len(modes) != len(words) or len(set(modes)) != len(modes):
        raise InputError(f"--modes {text!r}: expected some of {', '.join(MODES)}, each once")
    return modes


def plan_ways(
    site: Site, bundles: Sequence[Path], steps: Sequence[int] | None, modes: Sequence[Mode]
) -> list[Way]:
    """All combinations, bundle by bundle; `steps` None: each bundle's first.

    Raises BundleError: no bundle, a step count that one has not, or one that cannot continue a chunk where `rtc` asks
    for that.
    """
    ways = []
    for path, label in bundle_labels(list(dict.fromkeys(bundles))).items():
        manifest = read_manifest(path)
        if "rtc" in modes:
            sampling = manifest.graphs["step" if manifest.layout == "split" else "policy"]
            if not takes_guidance(sampling):
                raise BundleError(
                    f"{path}: its graphs have no inputs for real-time chunking; export the bundle again, or leave "
                    "rtc out of --modes"
                )
        for count in steps or (None,):
            solver = site.inference.solver
            known = manifest.schedule(count, solver).steps
            ways += [Way(path, label, manifest, known, solver, mode) for mode in modes]
    return ways


@dataclass(frozen=True)
class Scored:
    """What came of all rows."""

    rows: tuple[RowInfo, ...]
    whole: bool
    """Everything that was planned was done."""
    clips: tuple[Clip, ...] = ()
    notices: tuple[str, ...] = ()
