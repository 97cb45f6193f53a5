"""Everything that a machine with an NVIDIA GPU can tell about this exporter, in one call.

    python tools/gpu_report.py --out report                                    # hours of work at full size
    python tools/gpu_report.py --out report --generation GWP-0.5 --precision fp16 --layout split
    python tools/gpu_report.py --out rehearsal --provider cpu --sizes tiny --layers 1 --pytorch eager --repeats 3

Draws random checkpoints, exports and times them beside PyTorch's compiler, and checks the outputs on a checkpoint with
fewer layers. Writes report.json after every row, and report.html. Called again, it goes on where it was stopped:
checkpoints, bundles and rows that are there are kept, also rows that it is not asked for. Exit 1 when a row failed or
a velocity is beyond its gate.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError

from gigaedge.cli.common import print_table
from gigaedge.errors import InputError
from gigaedge.files import atomic_file, write_text
from gigaedge.machine import describe_machine
from gigaedge_export.random_checkpoint import PROMPT
from gpu_commands import StepError, make_calibration, run, tool
from gpu_rows import HEADER, Report, Row, floor_ms

NOT_ON_TENSORRT = ("int4", "fp32")
"""TensorRT parses no MatMulNBits, and nobody deploys fp32 on it."""

GENERATIONS = ("GWP-0.5", "GWP-0")
PRECISIONS = ("fp16", "int8", "int4", "fp32")
LAYOUTS = ("split", "single")
PROVIDERS = ("cuda", "tensorrt", "cpu")
MODES = ("eager", "compile", "graph", "none")


@dataclass(frozen=True)
class Options:
    """What is asked for, and where it goes."""

    out: Path
    sizes: str
    layers: int
    check_layers: int
    steps: str
    repeats: int
    warmup: int
    opset: int

    @property
    def timing(self) -> list[str]:
        """Arguments of every timed measurement."""
        return ["--steps", self.steps, "--repeats", str(self.repeats), "--warmup", str(self.warmup)]


@dataclass(frozen=True)
class Case:
    """One bundle on one provider."""

    generation: str
    precision: str
    layout: str
    provider: str


def main(
    out: Annotated[Path, typer.Option(help="Folder for the report, checkpoints and bundles.")],
    generation: Annotated[str, typer.Option(help="Architectures.")] = ",".join(GENERATIONS),
    precision: Annotated[str, typer.Option(help="fp32, fp16, int8, int4.")] = "fp16,int8,int4",
    layout: Annotated[str, typer.Option(help="split, single.")] = ",".join(LAYOUTS),
    provider: Annotated[str, typer.Option(help="cpu, cuda, tensorrt (fp16 and int8 only).")] = "cuda",
    pytorch: Annotated[str, typer.Option(help="How PyTorch runs: eager, compile, graph, none.")] = (
        "eager,compile,graph"
    ),
    sizes: Annotated[Literal["full", "tiny"], typer.Option(help="Widths of the checkpoints.")] = "full",
    layers: Annotated[int, typer.Option(help="Layers of the timed checkpoints.", min=1)] = 30,
    check_layers: Annotated[int, typer.Option(help="Layers where outputs are checked.", min=1)] = 2,
    steps: Annotated[str, typer.Option(help="Step counts of the bundles.")] = "10,5",
    repeats: Annotated[int, typer.Option(help="Chunks to time per row.", min=1)] = 100,
    warmup: Annotated[int, typer.Option(help="Chunks before those.", min=1)] = 10,
    opset: Annotated[int, typer.Option(help="20 for TensorRT before 10.14.", min=20, max=23)] = 23,
    discard: Annotated[
        bool, typer.Option("--discard", help="Delete every bundle and checkpoint once it is measured.")
    ] = False,
) -> None:
    """Measure and check everything that is asked for."""
    generations = chosen("--generation", generation, GENERATIONS)
    precisions = chosen("--precision", precision, PRECISIONS)
    layouts = chosen("--layout", layout, LAYOUTS)
    providers = chosen("--provider", provider, PROVIDERS)
    modes = [mode for mode in chosen("--pytorch", pytorch, MODES) if mode != "none"]
    out.mkdir(parents=True, exist_ok=True)
    options = Options(out, sizes, layers, min(layers, check_layers), steps, repeats, warmup, opset)
    book = Book(options, "cpu" if providers == ["cpu"] else "cuda")
    for each in generations:
        for case in cases(each, precisions, layouts, providers):
            book.policy(case)
            book.check(case)
            if discard:
                shutil.rmtree(book.bundle(case, options.layers), ignore_errors=True)
        for mode in modes:
            book.pytorch(each, mode)
        if discard:
            shutil.rmtree(book.checkpoint(each, options.layers), ignore_errors=True)
    book.finish()


def chosen(option: str, text: str, choices: Sequence[str]) -> list[str]:
    """Some of the choices, as in `fp16,int8`. Raises InputError."""
    found = text.split(",")
    for each in found:
        if each not in choices:
            raise InputError(f"{option} {text!r}: {each!r} is none of {', '.join(choices)}")
    return found


def cases(
    generation: str, precisions: Sequence[str], layouts: Sequence[str], providers: Sequence[str]
) -> Iterator[Case]:
    """Every combination that makes sense."""
    for provider in providers:
        for precision in precisions:
            for layout in layouts:
                if provider != "tensorrt" or precision not in NOT_ON_TENSORRT:
                    yield Case(generation, precision, layout, provider)


class Book:
    """The report while it is written, and the commands behind it."""

    def __init__(self, options: Options, device: Literal["cpu", "cuda"]) -> None:
        self.options, self.device = options, device
        self._bandwidth: float | None = None
        self._machine, self._versions = describe_machine(), {"python": sys.version.split()[0]}
        self._trouble = ""
        command = tool("gpu_measure.py", "bandwidth", "--device", device)
        try:
            found = self._run("bandwidth", command)
            self._bandwidth = found["copy_bytes_per_s"]
            self._versions |= found["versions"]
            self._machine += f"; {found['gpu']}" if found["gpu"] else ""
        except StepError as error:
            self._trouble = f"bandwidth: {error}"
        self._rows = self._read()

    def checkpoint(self, generation: str, layers: int) -> Path:
        """Where a checkpoint lies."""
        return self.options.out / f"{generation}-{self.options.sizes}-{layers}"

    def bundle(self, case: Case, layers: int) -> Path:
        """Where a bundle lies."""
        name = (
            f"{case.generation}-{self.options.sizes}-{layers}-{case.precision}-{case.layout}-{case.provider}"
        )
        return self.options.out / name

    def policy(self, case: Case) -> None:
        """Rows of a bundle's speed."""
        layers = self.options.layers
        bundle = self.bundle(case, layers)
        measure = tool("gpu_measure.py", "bundle", bundle, "--provider", case.provider, *self.options.timing)
        commands = [*self._making(case, layers), measure]
        self._add("policy", case, layers, commands, floor_of=bundle)

    def check(self, case: Case) -> None:
        """A row that compares a bundle of few layers with PyTorch."""
        layers = self.options.check_layers
        files = (self.bundle(case, layers), self.checkpoint(case.generation, layers))
        measure = tool("gpu_measure.py", "check", *files, "--provider", case.provider)
        self._add("check", case, layers, [*self._making(case, layers), measure])

    def pytorch(self, generation: str, mode: str) -> None:
        """Rows of PyTorch's speed, and, on few layers, of how near bf16 is to fp32."""
        case = Case(generation, "bf16", mode, self.device)
        for kind, layers, extra in (
            ("pytorch", self.options.layers, ()),
            ("check", self.options.check_layers, ("--check",)),
        ):
            folder = self.checkpoint(generation, layers)
            arguments = ["--device", self.device, "--mode", mode, *self.options.timing, *extra]
            measure = tool("gpu_measure.py", "pytorch", folder, *arguments)
            self._add(kind, case, layers, [self._drawing(generation, layers), measure])

    def finish(self) -> None:
        """Write the page, print the table, and exit with 1 when a row has a problem."""
        report = self._report()
        try:
            from gpu_page import render
        except ModuleNotFoundError as error:
            typer.echo(f"note: no report.html: {error.name} is not installed", err=True)
        else:
            write_text(self.options.out / "report.html", render(report))
        print_table(
            f"{report.machine}; times p50/p95/p99", list(HEADER), [row.cells() for row in report.rows]
        )
        problems = [f"{row.name}: {row.problem}" for row in report.rows if row.problem]
        problems += [self._trouble] if self._trouble else []
        for problem in problems:
            typer.echo(f"FAILED {problem}", err=True)
        raise typer.Exit(1 if problems else 0)

    def _drawing(self, generation: str, layers: int) -> list[str]:
        folder = self.checkpoint(generation, layers)
        sizes = ["--sizes", self.options.sizes, "--layers", str(layers)]
        return tool("random_checkpoint.py", generation, folder, *sizes)

    def _making(self, case: Case, layers: int) -> list[list[str]]:
        """Commands that draw a checkpoint and export it."""
        checkpoint = self.checkpoint(case.generation, layers)
        options = [
            *(
                "--checkpoint",
                checkpoint,
                "--prompt",
                f"task={checkpoint / PROMPT}",
                "--steps",
                self.options.steps,
            ),
            *("--precision", case.precision, "--target", case.provider, "--layout", case.layout),
            *("--opset", self.options.opset, "--no-verify", "--out", self.bundle(case, layers)),
        ]
        if case.provider == "tensorrt" and case.precision == "int8":
            options += ["--calibration", make_calibration(self.options.out / "calibration")]
        export = [sys.executable, "-m", "gigaedge", "export", *map(str, options)]
        return [self._drawing(case.generation, layers), export]

    def _add(
        self, kind: Any, case: Case, layers: int, commands: list[list[str]], floor_of: Path | None = None
    ) -> None:
        """Run what is not there yet; the last command measures, and those before it make a folder each."""
        row = Row(
            kind=kind,
            generation=case.generation,
            precision=case.precision,
            variant=case.layout,
            provider=case.provider,
            layers=layers,
            commands=tuple(map(shlex.join, commands)),
        )
        if any(each.commands == row.commands for each in self._rows):
            return
        typer.echo(row.name, err=True)
        targets = [self.checkpoint(case.generation, layers), self.bundle(case, layers)]
        try:
            for command, target in zip(commands[:-1], targets, strict=False):
                if not target.exists():
                    self._run(f"make {target.name}", command)
            for fields in self._run(row.name, commands[-1]):
                floor = None
                if floor_of and self._bandwidth:
                    floor = floor_ms(floor_of, fields["steps"], self._bandwidth)
                self._rows.append(Row.model_validate({**row.model_dump(), **fields, "floor_ms": floor}))
        except StepError as error:
            self._rows.append(row.model_copy(update={"error": str(error)}))
        with atomic_file(self.options.out / "report.json") as temporary:
            temporary.write_text(self._report().model_dump_json(indent=1) + "\n", encoding="utf-8")

    def _run(self, what: str, command: Sequence[str]) -> Any:
        return run(command, self.options.out / "logs" / f"{re.sub('[^A-Za-z0-9.-]+', '-', what)}.txt")

    def _read(self) -> list[Row]:
        """What earlier calls measured; what failed then is tried again when it is asked for."""
        path = self.options.out / "report.json"
        if not path.is_file():
            return []
        try:
            earlier = Report.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise InputError(f"{path}: no report of this version; move it away") from error
        if earlier.machine != self._machine:
            raise InputError(f"{path}: made on {earlier.machine}, this is {self._machine}; move it away")
        return [row for row in earlier.rows if not row.error]

    def _report(self) -> Report:
        return Report(
            machine=self._machine,
            versions=self._versions,
            copy_bytes_per_s=self._bandwidth,
            rows=tuple(self._rows),
        )


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    try:
        app()
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
