"""Break the limit layer in every small way, one at a time, and see that its tests notice.

    python tools/mutate_limits.py --jobs 2              all mutants, some 20 minutes
    python tools/mutate_limits.py --module pursuit      of one module

A mutant is one changed operator, constant, function or statement. It lives in a forked child only: no file is written.
One that no test kills is either a hole in the tests or does the same as the original; the latter stand, each with its
reason, in tools/equivalent_mutants.py. Ends with 1 when one survives that is not listed there, or when one that is
listed gets killed.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy
import numpy
import pydantic
import pytest
import ruckig

from equivalent_mutants import EQUIVALENT

ROOT = Path(__file__).resolve().parents[1]
PRELOADED = (hypothesis.extra.numpy, numpy, pydantic, ruckig)
"""Imported once, before the forks: a child only imports what may be mutated."""

MODULES = ("stopping", "pursuit", "journey", "workspace", "room", "limits")
TIMEOUT = 120
"""s of a child's own; a mutant that makes a loop endless is killed by it."""

COMPARE: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
OPPOSITE: dict[type, type] = {ast.Lt: ast.Gt, ast.LtE: ast.GtE, ast.Gt: ast.Lt, ast.GtE: ast.LtE}
BINARY: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
CALLS = {
    "minimum": "maximum", "maximum": "minimum", "fmin": "fmax", "fmax": "fmin", "min": "max", "max": "min",
    "all": "any", "any": "all", "ceil": "floor", "abs": "positive", "sin": "cos", "cos": "sin",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One change of one module."""

    module: str
    number: int
    """Of the changes of its module, in the order of the syntax tree."""
    line: int
    what: str

    @property
    def name(self) -> str:
        """Stable while the line stays as it is: module, the line's text, the change."""
        text = source(self.module).splitlines()[self.line - 1].strip()
        return f"{self.module}: {text} [{self.what}]"


def source(module: str) -> str:
    """Text of a module."""
    return (ROOT / "runtime/gigaedge_runtime" / f"{module}.py").read_text(encoding="utf-8")


def changes(tree: ast.AST) -> Iterator[tuple[ast.AST, str, str, Any]]:
    """Every change: node, what it is in words, attribute to set, its new value."""
    decorators = {
        id(part)
        for node in ast.walk(tree)
        for outer in getattr(node, "decorator_list", ())
        for part in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if id(node) in decorators:
            continue
        if isinstance(node, ast.Compare):
            for table in (COMPARE, OPPOSITE):
                if (new := table.get(type(node.ops[0]))) is not None:
                    yield (
                        node,
                        f"{type(node.ops[0]).__name__} -> {new.__name__}",
                        "ops",
                        [new(), *node.ops[1:]],
                    )
        elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in BINARY:
            new = BINARY[type(node.op)]
            yield node, f"{type(node.op).__name__} -> {new.__name__}", "op", new()
        elif isinstance(node, ast.UnaryOp):
            twice = ast.UnaryOp(node.op, node.operand)
            yield node, f"without {type(node.op).__name__}", "operand", twice
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
            yield node, f"{node.value} -> {node.value + 1}", "value", node.value + 1
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield node, f"{node.value} -> {not node.value}", "value", not node.value
        elif isinstance(node, ast.Attribute) and node.attr in CALLS:
            yield node, f"{node.attr} -> {CALLS[node.attr]}", "attr", CALLS[node.attr]
        elif isinstance(node, ast.Name) and node.id in ("min", "max"):
            yield node, f"{node.id} -> {CALLS[node.id]}", "id", CALLS[node.id]
        elif isinstance(node, ast.If):
            yield node, "condition inverted", "test", ast.UnaryOp(ast.Not(), node.test)
        for field in ("body", "orelse"):
            body = getattr(node, field, None)
            for place, statement in enumerate(body if isinstance(body, list) else []):
                call = isinstance(statement, ast.Expr) and not isinstance(statement.value, ast.Constant)
                if call or isinstance(statement, ast.AugAssign):
                    left = [*body[:place], ast.Pass(), *body[place + 1 :]]
                    yield statement, "statement dropped", field, (node, left)


def prepared(module: str) -> ast.Module:
    """The syntax tree without annotations, which no test can see."""
    tree = ast.parse(source(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            for argument in node.args.args:
                argument.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
    return tree


def mutants(module: str) -> list[Mutant]:
    """All of a module."""
    return [
        Mutant(module, number, node.lineno, what)  # type: ignore[attr-defined]
        for number, (node, what, _, _) in enumerate(changes(prepared(module)))
    ]


def mutated(mutant: Mutant) -> types.CodeType:
    """Its module, changed."""
    tree = copy.deepcopy(prepared(mutant.module))
    node, _, attribute, value = list(changes(tree))[mutant.number]
    if isinstance(value, tuple):
        node, value = value
    setattr(node, attribute, value)
    return compile(ast.fix_missing_locations(tree), f"{mutant.module}.py", "exec")


class Instead(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the mutant where its module is asked for."""

    def __init__(self, mutant: Mutant) -> None:
        self._name, self._code = f"gigaedge_runtime.{mutant.module}", mutated(mutant)

    def find_spec(self, fullname: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        """Of the mutant only."""
        return importlib.util.spec_from_loader(fullname, self) if fullname == self._name else None

    def exec_module(self, module: types.ModuleType) -> None:
        """Run it."""
        exec(self._code, module.__dict__)


def survives(mutant: Mutant | None) -> tuple[Mutant | None, bool]:
    """Run the tests on it, None being the original; in a child of its own."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    os.chdir(ROOT)
    if mutant is not None:
        sys.meta_path.insert(0, Instead(mutant))
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(TIMEOUT)
    own = () if mutant is None else (mutant.module,)
    others = tuple(module for module in MODULES if module not in own)
    # hypothesis is there already, which pytest would tell us.
    how = ["-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", "-W", "ignore::pytest.PytestWarning"]
    try:
        failed = any(
            pytest.main([*how, *(f"tests/runtime/test_{name}.py" for name in part)])
            for part in (own, others)
            if part
        )
    except BaseException:  # noqa: BLE001 - a mutant may end in any way; each but a pass is its death
        failed = True
    signal.alarm(0)
    return mutant, not failed


def _too_long(*_: object) -> None:
    raise TimeoutError


def main() -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--module", choices=MODULES, action="append")
    options = parser.parse_args()
    every = [mutant for module in options.module or MODULES for mutant in mutants(module)]
    print(f"{len(every)} mutants", flush=True)
    killed = listed = 0
    problems = []
    with get_context("fork").Pool(options.jobs, maxtasksperchild=1) as pool:
        if not pool.apply(survives, (None,))[1]:
            print("the tests fail on the original: nothing they say of a mutant counts")
            return 1
        for done, (mutant, alive) in enumerate(pool.imap(survives, every, chunksize=1), start=1):
            if mutant is None:
                continue
            known = mutant.name in EQUIVALENT
            killed += not alive
            listed += alive and known
            if alive != known:
                problem = "SURVIVED" if alive else "KILLED though listed as equivalent"
                problems.append(mutant.name)
                print(f"{problem}: {mutant.name} (line {mutant.line})", flush=True)
            if done % 50 == 0:
                print(f"{done} of {len(every)}", flush=True)
    print(f"{len(every)} mutants: {killed} killed, {listed} equivalent, {len(problems)} to be looked at")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
