"""The kinds of hosts that localhosts makes. Each suite and init has an image of its own, which takes a minute to make:
only the matrix runs these tests, by the name of this file.
"""

from __future__ import annotations

import pytest

from localhosts import Cluster, images
from localhosts.inits import Init, Login
from localhosts.proxy import PackageProxy
from tests.kinds import check, ended_cleanly, output

SERVERS = {"bookworm": "10.11.", "trixie": "11.8.", "sid": "9."}
"""How the version of the database server in each suite begins."""

START: dict[Init, str] = {"systemd": "systemctl start {}", "sysv": "service {} start"}


@pytest.mark.parametrize("login", ["ubuntu", "root"])
@pytest.mark.parametrize("init", ["systemd", "sysv", "none"])
@pytest.mark.parametrize("suite", images.SUITES)
def test_host(suite: str, init: Init, login: Login) -> None:
    image = images.SUITES[suite](init="sysv" if init == "sysv" else "systemd")
    with ended_cleanly(Cluster(2, image=image, init=init, login=login)) as cluster:
        check(cluster, init, login)


@pytest.mark.parametrize(("suite", "init"), [("bookworm", "sysv"), ("trixie", "sysv"), ("sid", "systemd")])
def test_database_server_is_off_at_boot_and_starts(suite: str, init: Init) -> None:
    with Cluster(1, image=images.SUITES[suite](init=init), init=init) as cluster:
        (host,) = cluster.hosts
        assert host.run("pgrep", "mysqld|mariadbd").returncode == 1
        output(host, START[init].format("mysql" if suite == "sid" else "mariadb"))
        assert output(host, "mysql -NBe 'select version()'").startswith(SERVERS[suite])


@pytest.mark.parametrize("suite", images.SUITES)
def test_bare_host_installs_packages(suite: str) -> None:
    image = images.SUITES[suite](bare=True)
    with Cluster(1, image=image, init="none") as cluster, PackageProxy(cluster.gateway) as proxy:
        (host,) = cluster.hosts
        assert output(host, "command -v mysqld mariadbd node curl || echo none") == "none"
        host.run("tee", "/etc/apt/apt.conf.d/90proxy", input=f'Acquire::http::Proxy "{proxy}";\n'.encode())
        output(host, "apt-get -q update && apt-get -qy install --no-install-recommends hello", timeout=120)
        assert output(host, "hello") == "Hello, world!"
