"""The kinds of hosts that localhosts makes, as far as two images do; ``tests/matrix_localhosts.py`` has the others."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import circuit
from localhosts import Cluster, Host, LocalHostsError, images
from localhosts.__main__ import main
from tests.kinds import check, ended_cleanly, output, through_circuit, until

LOOK = "id -un; cat /proc/1/comm /etc/apt/apt.conf.d/90proxy"


@pytest.fixture(scope="module")
def container() -> Iterator[Cluster]:
    """Two hosts like containers, with all that a host can have besides."""
    with ended_cleanly(Cluster(2, init="none", ipv6=True, second_network=True, sudo="password")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def mysql() -> Iterator[Cluster]:
    """Two hosts like containers with MySQL 9, whose circuit servers are root's."""
    with ended_cleanly(
        Cluster(2, image=images.unstable(), init="none", login="root", sudo="missing", metadata="none")
    ) as cluster:
        yield cluster


def test_container(container: Cluster) -> None:
    check(container, "none", "ubuntu")


def test_container_of_roots(mysql: Cluster) -> None:
    check(mysql, "none", "root")


def test_systemd_of_roots() -> None:
    with ended_cleanly(Cluster(2, login="root")) as cluster:
        check(cluster, "systemd", "root")


def test_init_that_the_image_has_not_is_refused() -> None:
    with pytest.raises(LocalHostsError, match=r"cannot have init sysv: the image bookworm-\w+ has systemd"):
        Cluster(1, image=images.debian12(), init="sysv").start()


def test_mysql_9_is_there_and_off_and_starts(mysql: Cluster) -> None:
    host = mysql.hosts[0]
    assert host.run("pgrep", "mysqld").returncode == 1
    output(host, "install -d -o mysql -g mysql /run/mysqld; mysqld --user=mysql --daemonize")
    version, capacity = output(host, "mysql -NBe 'select version(), @@innodb_redo_log_capacity'").split()
    assert version.startswith("9.")
    assert int(capacity) == 8 << 20


def test_sudo_asks_for_a_password(container: Cluster) -> None:
    said = through_circuit(container, container.hosts[0], "sudo -n true 2>&1")
    assert said == "sudo: a password is required"


def test_sudo_is_missing(mysql: Cluster) -> None:
    assert through_circuit(mysql, mysql.hosts[0], "command -v sudo || echo none") == "none"


def test_no_metadata(mysql: Cluster) -> None:
    assert mysql.hosts[0].run("curl", "--silent", "http://169.254.169.254").returncode == 7  # could not connect


@pytest.fixture(scope="module")
def web(container: Cluster) -> str:
    """The first host's name, which a web server on all its addresses, port 8080, tells."""
    first, second = container.hosts
    serve = "python3 -m http.server 8080 --bind :: --directory /etc"
    output(first, f"setsid --fork {serve} < /dev/null > /dev/null 2>&1")
    until(lambda: fetched(second, first.private_address) == first.name, "the web server")
    return first.name


def fetched(host: Host, address: str) -> str:
    """What the web server says to another host."""
    return host.run("curl", "--silent", "--max-time", "5", f"http://{address}:8080/hostname").stdout.decode().strip()


def test_ipv6_addresses_are_reached_from_everywhere(container: Cluster, web: str) -> None:
    first, second = container.hosts
    assert len({first.private_address6, first.public_address6, second.private_address6, container.gateway6}) == 4
    for address in (first.private_address6, first.public_address6):
        assert fetched(second, f"[{address}]") == web
        socket.create_connection((address, 8080), 5).close()
    with socket.create_server((container.gateway6, 0), family=socket.AF_INET6) as listener:
        output(second, f"bash -c 'exec 3<>/dev/tcp/{container.gateway6}/{listener.getsockname()[1]}'")


def test_second_network_joins_the_hosts_alone(container: Cluster, web: str) -> None:
    first, second = container.hosts
    assert output(second, f"ip route get {first.second_address}").split()[2] == "eth1"
    assert fetched(second, first.second_address) == web
    # Where the runner would send it; some networks answer for any address.
    way = subprocess.run(["ip", "route", "get", first.second_address], capture_output=True, text=True, check=False)
    assert f"dev {container.name} " not in way.stdout


def test_hosts_have_no_such_addresses_unless_asked(mysql: Cluster) -> None:
    host = mysql.hosts[0]
    assert (host.private_address6, host.public_address6, host.second_address, mysql.gateway6) == ("", "", "", "")
    assert "fd00" not in output(host, "ip address")
    assert output(host, "ls /sys/class/net").split() == ["eth0", "lo"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["up", "--suite", "etch"], "invalid choice: 'etch'"),
        (["up", "--init", "upstart"], "invalid choice: 'upstart'"),
        (["image", "--login", "root"], "unrecognized arguments: --login root"),
    ],
)
def test_kinds_that_are_none_end_with_status_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert said in capsys.readouterr().err


def test_up_makes_hosts_as_they_are_asked_for() -> None:
    options = ("--hosts", "1", "--init", "none", "--login", "root", "--metadata", "none", "--ipv6", "--packages")
    with subprocess.Popen(
        [sys.executable, "-m", "localhosts", "up", *options],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        host = running.stdout.readline()
        assert re.match(r"lh\d+-1  private 10\.213\.\d+\.11 fd00:213:\d+::11  public \S+ \S+  circuit://", host)
        # What is printed to be pasted is all that is needed.
        pasted = next(line[line.index("export ") :] for line in running.stdout if "export " in line)
        listed = subprocess.run(
            ["sh", "-c", f"{pasted}\nexec {sys.executable} -m circuit ls /"],
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert (listed.returncode, listed.stderr) == (0, ""), pasted
        assert re.fullmatch(r"/X[0-9a-f]{16}\n", listed.stdout)
        address, key = re.findall(r"=(\S+)", pasted)
        with circuit.dial(address, circuit.decode_key(Path(key).read_bytes())) as client:
            (anchor,) = client.view().values()
            proc = anchor.walk("look").make_proc(circuit.Cmd("/bin/sh", ["-c", LOOK], scrub=True))
            look = proc.communicate()[0].decode().splitlines()
        assert look[:2] == ["root", "(sd-stubinit)"]
        proxy = re.fullmatch(r'Acquire::http::Proxy "http://([\d.]+):(\d+)";', look[2])
        assert proxy is not None
        socket.create_connection((proxy[1], int(proxy[2])), 5).close()
        running.communicate("\n", 20)
    assert running.returncode == 0
