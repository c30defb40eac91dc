"""JUnit's XML of runs of all kinds: what it tells of a run, and that it is what its readers were promised (xunit2)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from xmlschema import XMLSchema

from tests.jobs import Watched, named, run, sh

SCHEMA = XMLSchema(Path(__file__).parent / "xunit2.xsd")

WORKERS = pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])


def suite_of(xml: Path) -> ElementTree.Element:
    """The one suite of a run's XML, which is proven valid."""
    SCHEMA.validate(xml)
    (suite,) = ElementTree.parse(xml).getroot()
    return suite


def properties_of(suite: ElementTree.Element) -> dict[str, str]:
    return {one.attrib["name"]: one.attrib["value"] for one in suite.iterfind("properties/property")}


def outcomes_of(suite: ElementTree.Element) -> Counter[str]:
    """How many cases passed, and how many have each kind of other outcome."""
    kinds = (child.tag for case in suite.iterfind("testcase") for child in case if child.tag != "system-out")
    return Counter([*kinds, *("passed" for case in suite.iterfind("testcase") if not len(case))])


@pytest.fixture
def broken(watched: Watched) -> Iterator[list[str]]:
    """A deployment of MySQL alone, without its table; the options that name its circuit."""
    circuit = named(watched.cluster)
    done = run(*circuit, "--keep=always", "-k", "test_service_is_running")
    assert done.returncode == 0, done.stdout
    sh(watched.named(watched.roles[0]), "mariadb -e 'DROP TABLE tutorial.NameValue'")
    yield circuit
    run(*circuit, "--circuit-teardown", "--replace")
    watched.assert_unchanged()


@WORKERS
def test_a_run_that_passes_tells_what_was_deployed_where(watched: Watched, tmp_path: Path, workers: list[str]) -> None:
    done = run(*named(watched.cluster), "-k", "schema", f"--junitxml={tmp_path / 'junit.xml'}", *workers)
    assert done.returncode == 0, done.stdout
    suite = suite_of(tmp_path / "junit.xml")
    assert outcomes_of(suite) == {"passed": 6}
    properties = properties_of(suite)
    assert set(properties) == {"run", "owner", "started", "mode", "circuit", "mysql.host", "mysql.address"}
    assert properties["circuit"] == watched.cluster.hosts[0].circuit_address
    assert properties["mysql.host"] == watched.roles[0]
    assert re.fullmatch(r"[\d.]+ 3306", properties["mysql.address"])
    assert re.fullmatch(r"[0-9a-f]{8}", properties["run"])


@WORKERS
def test_a_run_that_fails_in_every_way_is_valid(broken: list[str], tmp_path: Path, workers: list[str]) -> None:
    done = run(*broken, "--attach", f"--junitxml={tmp_path / 'junit.xml'}", *workers)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    suite = suite_of(tmp_path / "junit.xml")
    outcomes = outcomes_of(suite)
    assert outcomes["passed"] > 10
    assert outcomes["failure"] > 3
    assert outcomes["error"] == 1
    assert outcomes["skipped"] > 30
    counted = [suite.attrib[kind] for kind in ("failures", "errors", "skipped")]
    assert counted == [str(outcomes[kind]) for kind in ("failure", "error", "skipped")]
    assert properties_of(suite)["mode"] == "attach"
    # What was found and what was expected, however long a terminal's line is.
    messages = [str(failure.get("message")).splitlines()[0] for failure in suite.iter("failure")]
    assert "AssertionError: assert [] == [('name', 'varchar(100)', 'NO'), ('value', 'text', 'YES')]" in messages


@pytest.mark.parametrize("options", [["-k", "no_such_check"], ["--collect-only"], ["-n", "2", "-k", "no_such_check"]])
def test_a_run_that_deploys_nothing_is_valid(tmp_path: Path, options: list[str]) -> None:
    done = run(f"--junitxml={tmp_path / 'junit.xml'}", *options)
    suite = suite_of(tmp_path / "junit.xml")
    assert outcomes_of(suite) == {}, done.stdout
    assert set(properties_of(suite)) == {"run", "owner", "started", "mode"}


def test_what_the_format_has_not_is_found() -> None:
    def valid(case: str) -> bool:
        counts = "tests='1' failures='0' errors='0'"
        return SCHEMA.is_valid(f"<testsuites><testsuite name='pytest' {counts}>{case}</testsuite></testsuites>")

    assert valid("<testcase name='a'><failure message='b'>c</failure></testcase>")
    assert not valid("<testcase name='a' file='b' line='1'/>")
    assert not valid("<testcase name='a'><properties/></testcase>")
    assert not valid("<testcase/>")
    assert not valid("<passed/>")
