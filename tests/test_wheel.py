"""The wheel, and the examples as repositories of users: outside this project, with the wheel installed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import circuit_harness
from localhosts import Cluster
from tests.installed import Installed, build, copy
from tests.jobs import ROOT, Watched, environment, left_of_cluster_in, named

PACKAGES = ("circuit", "circuit_harness", "localhosts")
CHECKS = {"redis": 4, "shop": 6}
ADDRESS = "circuit://10.0.0.7:11022/4276/Q54d9ba8870177645"

TERM_S = 5.0
"""After this, a program that ignores TERM is killed."""

HOOK = """
from circuit_harness import Need, Program

def pytest_circuit_services():
    sleep = Need("sleep", ("sleep",), "coreutils")
    return [Program(name="sleeper", command=["sleep", "9"], programs=[sleep], port=1234)]
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as ``pip install`` builds it."""
    return build(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """A virtual environment that has it."""
    return Installed.beside_ours(tmp_path_factory.mktemp("installed"), wheel)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two hosts that have Redis."""
    with Cluster(2, packages=["redis-server"]) as made:
        yield made


def test_the_wheel_is_the_packages_and_no_more(wheel: Path) -> None:
    tracked = subprocess.check_output(["git", "ls-files", *PACKAGES], cwd=ROOT, text=True, timeout=30).split()
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == set(tracked)
    data = {"circuit_harness/report/run.schema.json", *(f"{package}/py.typed" for package in PACKAGES)}
    assert data < names


def test_public_names_are_there() -> None:
    assert circuit_harness.__all__ == sorted(circuit_harness.__all__)
    assert set(circuit_harness.__all__) == set(circuit_harness._WHERE)
    for name in circuit_harness.__all__:
        assert getattr(circuit_harness, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'MySQ'"):
        circuit_harness.MySQ  # type: ignore[attr-defined] # noqa: B018


def test_a_suite_that_has_no_use_for_it_pays_little(installed: Installed) -> None:
    """What it loads is counted, and not the time, which a busy machine decides."""
    code = """
import importlib.metadata, json, sys
import pytest
(entry,) = (one for one in importlib.metadata.entry_points(group="pytest11") if "circuit" in one.name)
before = set(sys.modules)
manager = pytest.PytestPluginManager()
manager.register(entry.load())
print(json.dumps([entry.name, entry.value, sorted(set(sys.modules) - before)]))
"""
    printed = subprocess.check_output([installed.python, "-c", code], env=environment(), cwd="/", text=True, timeout=60)
    name, module, loaded = json.loads(printed)
    assert name == module, "a module that -p loads would be loaded twice"
    package = "circuit_harness"
    assert loaded == [package, f"{package}.plugin", f"{package}.plugin.command_line", f"{package}.plugin.hooks"]


@pytest.mark.rights
@pytest.mark.parametrize("name", CHECKS)
def test_an_example_passes_on_hosts_made_here(installed: Installed, tmp_path: Path, name: str) -> None:
    repository = copy(name, tmp_path)
    done = installed.pytest(repository)
    assert done.returncode == 0, done.stdout
    assert f" {CHECKS[name]} passed in " in done.stdout
    assert left_of_cluster_in(done.stdout) == []


@pytest.mark.parametrize("name", CHECKS)
def test_an_example_passes_on_named_hosts(installed: Installed, cluster: Cluster, tmp_path: Path, name: str) -> None:
    repository, watched, circuit = copy(name, tmp_path), Watched(cluster), named(cluster)
    kept = installed.pytest(repository, *circuit, "-n", "2", "--keep=always")
    assert kept.returncode == 0, kept.stdout
    assert f"{CHECKS[name]} passed in " in kept.stdout
    # As it is printed, which begins with the program.
    (attach,) = re.findall(r"to check it again: cd \S+ && \S+ -m pytest (.*)", kept.stdout)
    for options in ([*attach.split(), "-n", "1"], [*circuit, "--replace", "--keep=always"]):
        again = installed.pytest(repository, *options)
        assert again.returncode == 0, again.stdout
        assert f"{CHECKS[name]} passed in " in again.stdout
    (teardown,) = re.findall(r"to take it down: cd \S+ && \S+ -m pytest (.*)", again.stdout)
    ended = installed.pytest(repository, *teardown.split())
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "it was all taken down" in ended.stdout
    watched.assert_unchanged()


def test_the_readme_s_own_service_is_deployed(installed: Installed, cluster: Cluster, tmp_path: Path) -> None:
    _, declared, check = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    for name, text in {"pytest.ini": "", "conftest.py": declared, "test_redis.py": check}.items():
        (tmp_path / name).write_text(text)
    done = installed.pytest(tmp_path, *named(cluster))
    assert done.returncode == 0, done.stdout
    assert " 1 passed in " in done.stdout
    (seconds,) = re.findall(r"([\d.]+) s  redis: end the program", done.stdout)
    assert float(seconds) < TERM_S, "it was killed, as it does not end by itself"


def test_it_works_from_any_folder_beside_anybody_s_packages(
    installed: Installed, cluster: Cluster, tmp_path: Path
) -> None:
    """The names of this repository's own folders are free for users."""
    repository, watched = copy("redis", tmp_path), Watched(cluster)
    for name in ("deploy", "fixtures"):
        (repository / name).mkdir()
        (repository / name / "__init__.py").write_text("OURS = True\n")
    with (repository / "conftest.py").open("a") as conftest:
        conftest.write("import deploy, fixtures\nassert deploy.OURS and fixtures.OURS\n")
    (repository / "pytest.ini").write_text("[pytest]\npythonpath = .\nfilterwarnings = error\nstrict = true\n")
    address, key = (option.partition("=")[2] for option in named(cluster))
    with (repository / "pytest.ini").open("a") as ini:
        ini.write(f"circuit_addr = {address}\ncircuit_hmac = {os.path.relpath(key, repository)}\n")
    # hypothesis, where it is installed, warns of a folder that it cannot write to.
    options = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--strict-markers", "--import-mode=importlib"]
    done = installed.pytest(Path("/"), *options, "-n", "1", str(repository))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "on this machine" not in done.stdout
    assert not (repository / ".pytest_cache").exists()
    watched.assert_unchanged()


def test_variables_are_shown_of_tests_alone(installed: Installed, cluster: Cluster, tmp_path: Path) -> None:
    """Wherever the repository is: what came from a host is not known for a secret before somebody says so."""
    repository = copy("redis", tmp_path)
    (repository / "helper.py").write_text("def fail(of_a_helper):\n    raise OSError(len(of_a_helper))\n")
    (repository / "checks/test_redis.py").write_text(
        "import helper\n\ndef test_it(redis):\n    of_a_test = 'shown'\n    helper.fail('hidden')\n"
        "\ndef test_command(redis):\n    redis.host.element('x').none\n"
    )
    done = installed.pytest(tmp_path, *named(cluster), "--showlocals", "-o", "pythonpath=redis", "redis")
    assert done.returncode == 1, done.stdout
    assert re.search(r"^ *of_a_test += 'shown'$", done.stdout, re.MULTILINE), done.stdout
    assert not re.search(r"^of_a_helper +=", done.stdout, re.MULTILINE)


WITHOUT = "import socket\n\ndef test_it(host):\n    assert host.check_output('uname -n') == socket.gethostname()\n"


def test_without_services_testinfra_is_as_it_was(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(WITHOUT)
    for options in (["--hosts=local://"], ["-n", "1"]):
        done = installed.pytest(tmp_path, *options)
        assert done.returncode == 0, done.stdout
        assert "test_it[local] " in f"{done.stdout} ".replace("\n", " ")


def test_an_option_of_ours_wants_services(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(WITHOUT)
    for options in ([f"--circuit-addr={ADDRESS}", "-n", "1"], ["--report=x.html"]):
        done = installed.pytest(tmp_path, *options)
        assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
        assert f"(rootdir {tmp_path}, no ini file)" in done.stderr


def test_a_hook_that_pytest_finds_too_late_is_refused(installed: Installed, tmp_path: Path) -> None:
    """It would be ignored, and ``host`` would be this machine."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "below").mkdir()
    (tmp_path / "below/conftest.py").write_text(HOOK)
    (tmp_path / "below/test_it.py").write_text(WITHOUT)
    refused = installed.pytest(tmp_path, f"--circuit-addr={ADDRESS}")
    assert refused.returncode == pytest.ExitCode.USAGE_ERROR, refused.stdout
    assert f"(rootdir {tmp_path}, {tmp_path}/pytest.ini)" in refused.stderr
    for options in ([], ["-n", "1"]):
        done = installed.pytest(tmp_path, *options)
        assert done.returncode != 0
        assert f"{tmp_path}/below/conftest.py has the hook pytest_circuit_services, and" in done.stdout
    # Where it is an argument, it is found in time.
    listed = installed.pytest(tmp_path, "below", "--collect-only", "-q")
    assert listed.returncode == 0, listed.stdout + listed.stderr
    assert "test_it[sleeper]" in listed.stdout


def test_types_are_seen_from_a_user_s_repository(installed: Installed, tmp_path: Path) -> None:
    repository = copy("shop", tmp_path)
    bad = repository / "checks/bad.py"
    bad.write_text("from circuit_harness import Program\n\nProgram(name=1, command=[], port=2)\n")
    command = [sys.executable, "-m", "mypy", "--strict", f"--python-executable={installed.python}", "--no-incremental"]
    ignored = ["--disable-error-code=import-untyped", "--explicit-package-bases"]
    done = subprocess.run(
        [*command, *ignored, "conftest.py", "checks"], cwd=repository, capture_output=True, text=True, timeout=120
    )
    assert re.findall(r"^(\S+?):\d+: error: (.*?) +\[", done.stdout, re.MULTILINE) == [
        ("checks/bad.py", 'Argument "name" to "Program" has incompatible type "int"; expected "str"')
    ], done.stdout
