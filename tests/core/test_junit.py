"""The JUnit document, against the rules of the Windy Road schema that the standard library can check."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from gigaedge.benchmark import Verdict
from gigaedge.junit import render
from tests.measured_reports import loop, report, row

PASSED = Verdict(name="provider", passed=True, text="every node ran")
FAILED = Verdict(name="budget chunk", passed=False, text="<slow> & \x00 late")
SUITE = {"name", "package", "id", "timestamp", "hostname", "tests", "failures", "errors", "time"}


def test_a_suite_per_bundle_and_a_case_per_gate() -> None:
    reports = [report(verdicts=(PASSED, FAILED), path=(loop(1),)), report(row(30.0), verdicts=(PASSED,))]
    root = ElementTree.fromstring(render(reports))
    assert root.tag == "testsuites"
    first, second = root
    assert [suite.get("id") for suite in root] == ["0", "1"]
    assert (first.get("tests"), first.get("failures")) == ("2", "1")
    assert (second.get("tests"), second.get("failures")) == ("1", "0")
    passed, failed = first.findall("testcase")
    assert list(passed) == []
    (failure,) = failed
    assert failure.tag == "failure"
    assert failure.attrib == {"type": "budget", "message": "<slow> & � late"}
    assert failure.text == "<slow> & � late"


def test_attributes_and_order_are_those_of_the_schema() -> None:
    (suite,) = ElementTree.fromstring(render([report(verdicts=(PASSED, FAILED))]))
    assert set(suite.attrib) == SUITE
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
    assert float(suite.attrib["time"]) > 0
    tags = [part.tag for part in suite]
    assert tags == ["properties", "testcase", "testcase", "system-out", "system-err"]
    for case in suite.findall("testcase"):
        assert set(case.attrib) == {"name", "classname", "time"}
    assert suite.findtext("system-out") == "provider: every node ran\nbudget chunk: <slow> & � late"


def test_machine_and_figures_are_properties() -> None:
    measured = report(verdicts=(PASSED,), path=(loop(2, 90.0),))
    (suite,) = ElementTree.fromstring(render([measured]))
    found = {each.get("name"): each.get("value") for each in suite.iter("property")}
    assert found["machine"] == "A board, 4 cores"
    assert found["10-euler.chunk.p99_ms"] == f"{measured.rows[0].chunk.p99:.4f}"
    assert found["2-arms.exposure_to_can.p99_ms"] == "90.0000"
    assert all(value for value in found.values())
