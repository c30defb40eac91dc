"""Bad input: one clear line, exit status 4, at once, before anything is deployed."""

from __future__ import annotations

import re
import shlex
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from circuit import Hidden
from circuit_harness.engine.spec import Hosts
from circuit_harness.operations.addresses import Given
from circuit_harness.plugin.options import Options
from circuit_harness.plugin.spelling import FRONT_END
from localhosts.privilege import as_root
from tests.circuits import Pair
from tests.jobs import ROOT, environment

NOBODY = "circuit://127.0.0.1:9/1/Q0123456789abcdef"


def refusal(*options: str, **variables: str) -> str:
    """Run the harness, which must refuse; return its one line."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options],
        cwd=ROOT,
        env={**environment(), **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    assert time.monotonic() - start < 20
    lines = [line for line in done.stderr.splitlines() if line]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stdout
    return lines[0]


@pytest.fixture(params=[[], ["-n", "2"]], ids=["alone", "xdist"])
def workers(request: pytest.FixtureRequest) -> list[str]:
    options: list[str] = request.param
    return options


def test_address_that_does_not_parse(workers: list[str]) -> None:
    line = refusal("--circuit-addr=10.0.0.7:11022", *workers)
    assert line.startswith("ERROR: --circuit-addr: '10.0.0.7:11022' is not a circuit address: ")
    assert "circuit://10.0.0.7:11022/4276/Q54d9ba8870177645" in line


def test_address_that_nobody_listens_on(workers: list[str]) -> None:
    line = refusal(f"--circuit-addr={NOBODY}", *workers)
    assert line.endswith("cannot connect to 127.0.0.1:9: Connection refused")


def test_address_of_the_environment() -> None:
    assert "Connection refused" in refusal(CIRCUIT_ADDR=NOBODY)


def test_address_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        line = refusal(f"--circuit-addr=circuit://127.0.0.1:{silent.getsockname()[1]}/1/Q0123456789abcdef")
    assert "no answer to the hello within 8 s" in line


def test_key_file_that_is_missing(tmp_path: Path) -> None:
    line = refusal(f"--circuit-addr={NOBODY}", f"--circuit-hmac={tmp_path / 'key'}")
    assert line == f"ERROR: --circuit-hmac: cannot read {tmp_path / 'key'}: No such file or directory"


@pytest.mark.parametrize(
    ("content", "words"), [("!!!", "does not hold a key in base64"), ("", "is empty"), ("QUJD" * 100, "at most 256")]
)
def test_key_file_that_holds_no_key(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "key").write_text(content)
    assert words in refusal(f"--circuit-addr={NOBODY}", CIRCUIT_HMAC=str(tmp_path / "key"))


def test_key_without_a_circuit(tmp_path: Path) -> None:
    assert "hosts made on this machine get a key of their own" in refusal(f"--circuit-hmac={tmp_path / 'key'}")


@pytest.mark.parametrize("text", ["7000", "host:7000", "10.0.0.5:", "10.0.0.5:99999"])
def test_listen_address_that_is_none(text: str) -> None:
    line = refusal(f"--circuit-addr={NOBODY}", f"--circuit-listen={text}")
    assert line.startswith(f"ERROR: --circuit-listen: '{text}' is not IP:PORT")


def test_listen_address_of_another_machine() -> None:
    line = refusal(f"--circuit-addr={NOBODY}", "--circuit-listen=192.0.2.1:7000")
    assert "cannot listen for lifelines on 192.0.2.1 port 7000: Cannot assign requested address" in line


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--attach", "--replace"],
            "--attach changes nothing on the hosts, and waits for nobody, so --replace makes no",
        ),
        (["--attach", "--install"], "so --install makes no sense with it"),
        (["--circuit-teardown", "--install"], "takes down what is there, and checks nothing, so --install makes no"),
        (["--attach", "--keep=always"], "so --keep makes no sense with it"),
        (["--attach", "--lease-wait=5"], "so --lease-wait makes no sense with it"),
        (["--attach", "--plan"], "--attach and --plan are different things to do: choose one"),
        (["--circuit-teardown", "--attach"], "--attach and --circuit-teardown are different things to do: choose one"),
        (
            ["--circuit-teardown", "--keep=on-failure"],
            "--circuit-teardown takes down what is there, and checks nothing, so --keep makes no",
        ),
        (["--plan", "--keep=always"], "so --keep makes no sense with it"),
        (["--plan", "--lease-wait=5"], "so --lease-wait makes no sense with it"),
        (
            ["--plan", "--collect-only"],
            "--plan is done instead of running checks, and so is --collect-only: choose one",
        ),
        (["--crashed-only"], "--crashed-only limits --circuit-teardown: give both, or neither"),
        (["--attach", "--crashed-only"], "--crashed-only limits --circuit-teardown"),
        (["--plan", "--disruptive"], "so --disruptive makes no sense with it"),
        (["--circuit-teardown", "--disruptive"], "so --disruptive makes no sense with it"),
        (["--circuit-teardown", "--report=page.html"], "so --report makes no sense with it"),
        (["--plan", "--artifacts=folder"], "so --artifacts makes no sense with it"),
        (["--circuit-teardown", "--run-timeout=5"], "so --run-timeout makes no sense with it"),
        (["--lease-wait=-1"], "--lease-wait: '-1' is not a valid number of seconds; it is 0 or more"),
        (["--lease-wait=nan"], "--lease-wait: 'nan' is not a valid number of seconds; it is 0 or more"),
        (["--attach", "--private-address=a=10.0.0.7"], "so --private-address makes no sense with it"),
        (["--circuit-teardown", "--public-address=a=10.0.0.7"], "so --public-address makes no sense with it"),
        (["--private-address=10.0.0.7"], "--private-address: '10.0.0.7' is not NAME=IP, such as X"),
        (["--public-address=a=host"], "--public-address: 'a=host' is not NAME=IP, such as X"),
        (["--private-address=a=::1"], "--private-address: ::1 is a loopback address: no other host can reach it"),
        (
            ["--private-address=a=FD00::7", "--private-address=a=10.0.0.7"],
            "--private-address: host a is given twice, with fd00::7 and with 10.0.0.7",
        ),
        (["--mysql-port=0"], "--mysql-port: '0' is not a valid TCP port; they are 1 to 65535"),
        (["--api-port=65536"], "--api-port: '65536' is not a valid TCP port; they are 1 to 65535"),
        (["--api-port=80"], "--api-port: 80 is for privileged programs, and what is deployed runs without privileges"),
        (["--attach", "--api-port=8081"], "so --api-port makes no sense with it"),
        (["--circuit-teardown", "--mysql-port=3307"], "so --mysql-port makes no sense with it"),
        (["--hosts=a,b,c"], "--hosts: name at most 2 hosts, in this order: mysql, nodejs; not 3"),
        (["--attach", "--hosts=a,b,c"], "--hosts: name at most 2 hosts, in this order: mysql, nodejs; not 3"),
        (["--plan", "--hosts=a,b,c"], "--hosts: name at most 2 hosts, in this order: mysql, nodejs; not 3"),
        (["--hosts=,"], "--hosts: ',' names no host"),
        (["--hosts=redis=a"], "--hosts: no service is called redis; there is mysql, nodejs"),
        (["--plan", "--hosts=mysql=a,redis=b"], "--hosts: no service is called redis; there is mysql, nodejs"),
        (["--hosts=mysql=a,b"], "--hosts: name hosts by the services they are for, or in their order, and not both"),
        (["--hosts=mysql=a,mysql=b"], "--hosts: mysql is given twice, a and b"),
        (["--hosts=mysql="], "--hosts: mysql= is not SERVICE=HOST, such as mysql=X"),
    ],
    ids=" ".join,
)
def test_options_that_make_no_sense_together(options: list[str], words: str) -> None:
    assert words in refusal(f"--circuit-addr={NOBODY}", *options)


def test_a_folder_for_artifacts_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = refusal(f"--circuit-addr={NOBODY}", f"--artifacts={tmp_path / 'file'}")
    assert line == f"ERROR: --artifacts: {tmp_path / 'file'} is not a folder; name another"


def test_a_folder_for_artifacts_of_somebody_else(tmp_path: Path, circuit_pair: Pair) -> None:
    """What it holds is no older run's."""
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "app.log").write_text("precious")
    document = tmp_path / "run.json"
    for text in ("{}", "[1]", "no JSON"):
        document.write_text(text)
        line = refusal(f"--circuit-addr={circuit_pair.first.address}", f"--artifacts={tmp_path}")
        assert line == f"ERROR: --artifacts: cannot remove {document}: it is not of a run of ours; name another folder"
        assert (document.read_text(), (logs / "app.log").read_text()) == (text, "precious")


def test_a_report_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = refusal(f"--circuit-addr={NOBODY}", f"--report={tmp_path / 'file' / 'report.html'}")
    assert line == f"ERROR: --report: {tmp_path / 'file'} is not a folder; name another"
    line = refusal(f"--circuit-addr={NOBODY}", f"--report={tmp_path}")
    assert line == f"ERROR: --report: {tmp_path} is a folder; name a file in it, such as report.html"


@pytest.mark.parametrize("option", ["--attach", "--circuit-teardown", "--hosts=a", "--public-address=a=::7"])
def test_options_that_need_a_circuit_that_stays(option: str, workers: list[str]) -> None:
    line = refusal(option, *workers)
    assert line.startswith(f"ERROR: {option.partition('=')[0]}: ")
    assert "by --circuit-addr" in line


def test_hosts_that_are_not_there(circuit_pair: Pair) -> None:
    address = f"--circuit-addr={circuit_pair.first.address}"
    for mode in ([], ["-n", "2"], ["--attach"], ["--plan"], ["--circuit-teardown"]):
        line = refusal(address, "--hosts=X00", *mode)
        assert re.match(r"ERROR: --hosts: the circuit has no host X00; live are: X[0-9a-f]{16}", line)


@pytest.mark.parametrize("option", ["--private-address", "--public-address"])
def test_addresses_of_hosts_that_are_not_there(circuit_pair: Pair, option: str) -> None:
    for mode in ([], ["-n", "2"], ["--plan"]):
        line = refusal(f"--circuit-addr={circuit_pair.first.address}", f"{option}=X00=10.0.0.7", *mode)
        assert line.startswith(f"ERROR: {option}: the circuit has no host X00; live are: X")


@pytest.mark.rights
def test_no_circuit_and_no_rights_to_make_hosts() -> None:
    # Nobody, but one who may read the project wherever it is.
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    nobody += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    # By env(1): sudo passes none on.
    variables = ["env", "HOME=/nonexistent", "PYTHONDONTWRITEBYTECODE=1"]
    done = subprocess.run(
        as_root([*variables, *nobody, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    assert done.stderr.count("\n") <= 2
    assert "no --circuit-addr, and " in done.stderr
    assert "root" in done.stderr


def test_the_command_that_is_printed_reaches_the_same_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/venv/bin/pytest"])
    monkeypatch.delenv(FRONT_END, raising=False)
    options = Options(
        addresses=(NOBODY,),
        hmac_file=Path("/etc/circuit key"),
        hmac_key=Hidden(b"key"),
        listen=("fd00::5", 7000),
        hosts=Hosts(("X1", "X2")),
        given=Given({}, {}),
        mode="deploy",
        replace=False,
        install=False,
        keep="always",
        lease_wait=0.0,
        artifacts=None,
        report=None,
        disruptive=False,
    )
    circuit = f"--circuit-addr={NOBODY} '--circuit-hmac=/etc/circuit key' '--circuit-listen=[fd00::5]:7000'"
    here = f"cd {shlex.quote(str(Path.cwd()))} && /venv/bin/pytest"
    same = f"{here} {circuit}"
    assert options.command("check") == f"{same} --hosts=X1,X2 --attach"
    assert options.command("check", hosts=["X3"]) == f"{same} --hosts=X3 --attach"
    by_role = replace(options, hosts=Hosts(role={"mysql": "X1", "nodejs": "X1"}))
    assert by_role.command("check") == f"{same} --hosts=X1 --attach"
    assert options.teardown(["X3"]) == f"{same} --hosts=X3 --circuit-teardown"
    assert replace(options, hosts=Hosts()).teardown([]) == ""
    assert replace(options, in_workspace=True).command("check") == f"{here} --workspace=check"
    monkeypatch.setenv(FRONT_END, "./run")
    assert options.command("check") == f"./run check {circuit} --hosts=X1,X2"
    assert replace(options, in_workspace=True).teardown(["X3"]) == "./run down"
    circuit = f"--addr={NOBODY} '--hmac=/etc/circuit key' '--listen=[fd00::5]:7000'"
    assert options.circuit_command("shell", "/X1") == f"./run circuit shell {circuit} /X1"
    assert replace(options, in_workspace=True).circuit_command("shell", "/X1") == "./run circuit shell /X1"
    monkeypatch.delenv(FRONT_END)
    assert options.circuit_command("ls", "/") == f"{sys.executable} -m circuit ls {circuit} /"
