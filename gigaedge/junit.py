"""Bench reports as JUnit XML: a suite per bundle, a test case per gate, figures as properties.

Follows the stricter of the two schemas in use, that of the Windy Road Ant task, which Jenkins, GitLab and GitHub
actions read as well: every suite has an id, a package, a host and a time stamp without a zone.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
from xml.etree import ElementTree

from gigaedge.benchmark import BenchReport

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""XML 1.0, production 2."""


def render(reports: Sequence[BenchReport]) -> str:
    """The whole document."""
    root = ElementTree.Element("testsuites")
    for number, report in enumerate(reports):
        _suite(root, number, report)
    ElementTree.indent(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document.decode("utf-8") + "\n"


def _suite(root: ElementTree.Element, number: int, report: BenchReport) -> None:
    failures = sum(not verdict.passed for verdict in report.verdicts)
    seconds = sum(row.chunk.mean * row.chunk.count for row in report.rows) / 1e3
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        {
            "name": _text(report.subject.path),
            "package": "gigaedge.bench",
            "id": str(number),
            "timestamp": report.created[: len("2026-01-01T00:00:00")],
            "hostname": _text(platform.node() or "localhost"),
            "tests": str(len(report.verdicts)),
            "failures": str(failures),
            "errors": "0",
            "time": f"{seconds:.3f}",
        },
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _figures(report).items():
        ElementTree.SubElement(properties, "property", {"name": name, "value": _text(value)})
    for verdict in report.verdicts:
        attributes = {"name": _text(verdict.name), "classname": "gigaedge.bench", "time": "0"}
        case = ElementTree.SubElement(suite, "testcase", attributes)
        if not verdict.passed:
            kind = verdict.name.split()[0]
            ElementTree.SubElement(
                case, "failure", {"type": kind, "message": _text(verdict.text)}
            ).text = _text(verdict.text)
    texts = [f"{verdict.name}: {verdict.text}" for verdict in report.verdicts]
    ElementTree.SubElement(suite, "system-out").text = _text("\n".join(texts))
    ElementTree.SubElement(suite, "system-err").text = _text("\n".join(report.notices))


def _figures(report: BenchReport) -> dict[str, str]:
    subject, settings = report.subject, report.settings
    found = {
        "machine": report.machine.name,
        "gigaedge": report.gigaedge,
        "bundle": f"{subject.generation} {subject.precision} {subject.layout}, {subject.parameters} weights",
        "manifest.sha256": subject.manifest_sha256,
        "provider": settings.provider,
        "threads": str(settings.threads),
    }
    for row in report.rows:
        name = f"{row.steps}-{row.solver}"
        found |= {
            f"{name}.chunk.{figure}_ms": f"{getattr(row.chunk, figure):.4f}"
            for figure in ("p50", "p90", "p99", "max", "jitter")
        }
        found |= {f"{name}.{stage}.p99_ms": f"{times.p99:.4f}" for stage, times in row.stages.items()}
    for path in report.path:
        found[f"{path.arms}-arms.exposure_to_can.p99_ms"] = f"{path.exposure_to_can.p99:.4f}"
        found[f"{path.arms}-arms.deadline_misses"] = str(path.deadline_misses)
    return found


def _text(text: str) -> str:
    """What XML has no place for is replaced."""
    return _NOT_IN_XML.sub("�", text)
