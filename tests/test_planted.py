"""What other users of a host plant where our commands could run, or look for programs, modules and files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import circuit
from circuit_harness.remote.command import as_root
from circuit_harness.remote.shell import run_shell
from localhosts import Cluster, Host
from tests.jobs import Watched, named, run, sh
from tests.surroundings import server

FOLDER = "/srv/everybody"
"""Where the circuit server was started, by somebody who did not think of it: everybody can write there."""

MARKS = "/var/tmp/planted"
"""What was planted writes its name and user here."""

MODULES = ("socket", "sys", "http", "os", "re", "io", "json", "subprocess", "site", "sitecustomize", "usercustomize")
PERL_MODULES = ("Socket", "IO/Socket/IP", "strict")
NODE_MODULES = ("supports-color", "cardinal", "express", "mysql2", "bufferutil", "node:fs")

LOG = "/tmp/tutorial-nodejs.log"

# As user nobody: a program, a module or a package of every name that could be looked for.
_PLANT = f"""
set -e
for folder in /tmp {FOLDER}; do
    for name in $(ls /bin /usr/bin /sbin /usr/sbin | sort -u | grep -x '[a-z0-9][a-z0-9_.+-]*'); do
        [ -e $folder/$name ] || printf '#!/bin/sh\\necho program %s by $(/usr/bin/id -u) >> {MARKS}\\nexit 1\\n' \\
            $name > $folder/$name
    done
    chmod 755 $folder/* 2>/dev/null || :
    for name in {" ".join(MODULES)}; do
        printf 'open("{MARKS}", "a").write("module %s\\\\n")\\n' $name > $folder/$name.py
    done
    mkdir -p $folder/IO/Socket
    for name in {" ".join(PERL_MODULES)}; do
        printf 'open(F, ">>{MARKS}"); print F "perl %s\\\\n"; 1;\\n' $name > $folder/$name.pm
    done
    for name in {" ".join(NODE_MODULES)}; do
        mkdir -p $folder/node_modules/$name
        printf 'require("fs").appendFileSync("{MARKS}", "package %s\\\\n")\\n' $name \\
            > $folder/node_modules/$name/index.js
    done
done
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Cluster(1) as cluster:
        host = cluster.hosts[0]
        sh(host, f"mkdir -m 1777 {FOLDER}; : > {MARKS}; chmod 666 {MARKS}; chown ubuntu {FOLDER}")
        planted = host.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/bin/sh", "-c", _PLANT)
        assert planted.returncode == 0, planted.stderr
        yield host


@pytest.mark.parametrize("user", ["ubuntu", "root"])
def test_nothing_that_others_planted_ever_runs(host: Host, user: str) -> None:
    """In no mode: a plan, a deployment with all its checks, a look at what was kept, its end."""
    path = f".:/tmp:{FOLDER}:/usr/local/bin:/usr/bin:/bin"
    loaders = dict.fromkeys(("PYTHONPATH", "PERL5LIB", "PERLLIB", "LD_LIBRARY_PATH", "GCONV_PATH"), FOLDER)
    loaders["NODE_PATH"] = f"{FOLDER}/node_modules"
    with server(host, user=user, folder=FOLDER, environment={"PATH": path, **loaders}) as address:
        for options in (["--plan"], ["--keep=always", "--disruptive"], ["--attach"], ["--circuit-teardown"]):
            done = run(f"--circuit-addr={address}", *options)
            assert sh(host, f"sort {MARKS} | uniq -c") == "", options
            assert done.returncode == 0, done.stdout
        # What was planted does run, where somebody looks for it.
        with circuit.dial(address) as client:
            (anchor,) = client.view().values()
            run_shell(anchor, f"PATH={FOLDER}; cat", check=False)
    assert sh(host, f"cat {MARKS}; : > {MARKS}").startswith("program cat by ")


@pytest.fixture(scope="module")
def attacked(cluster: Cluster) -> Watched:
    return Watched(cluster)


@pytest.mark.parametrize(
    "there",
    [
        "ln -s /etc/machine-id {log}",
        "mkdir {log}; echo theirs > {log}/file",
        "mkfifo {log}",
        "echo theirs > {log}",
        "ln -s /nowhere/at/all {log}",
    ],
    ids=["link", "folder", "pipe", "file", "dangling link"],
)
def test_what_stands_in_the_log_s_place_misleads_nobody_and_comes_back(attacked: Watched, there: str) -> None:
    api = attacked.named(attacked.roles[1])
    look = f"ls -ld --time-style=+ {LOG}; find {LOG} -type f -exec cat {{}} +; cat /etc/machine-id; ls -A /tmp"
    sh(api, f"setpriv --reuid=65534 --regid=65534 --clear-groups sh -c '{there.format(log=LOG)}'")
    before = sh(api, look)
    try:
        done = run(*named(attacked.cluster), "-k", "log or http_put")
        assert done.returncode == 0, done.stdout
        assert sh(api, look) == before
    finally:
        sh(api, f"rm -rf {LOG}")
    attacked.assert_unchanged()


def test_a_link_that_the_app_puts_in_its_log_s_place_is_not_followed_by_root(attacked: Watched) -> None:
    """A check that cuts the log back in the end does that with the rights of the app."""
    api = attacked.named(attacked.roles[1])
    sh(api, "seq 10000 > /etc/precious; chmod 600 /etc/precious")
    # The app is compromised as soon as it runs.
    swap = f"setpriv --reuid=$(stat -c %u {LOG}) --clear-groups ln -sfT /etc/precious {LOG}; : > /run/swapped"
    sh(api, f"setsid -f sh -c 'until grep -qs Listening {LOG}; do sleep 0.01; done; {swap}' >/dev/null 2>&1 </dev/null")
    try:
        run(*named(attacked.cluster), "--disruptive", "-k", "503")
        assert sh(api, "ls /run/swapped; wc -l < /etc/precious").split() == ["/run/swapped", "10000"]
    finally:
        sh(api, f"rm /etc/precious /run/swapped; [ ! -L {LOG} ] || rm {LOG}")
    attacked.assert_unchanged()


def test_the_app_s_folder_is_below_a_folder_of_root_s(attacked: Watched) -> None:
    """Nobody can make it before the run does, although the run's name is there for all to see."""
    options = named(attacked.cluster)
    api = attacked.named(attacked.roles[1])
    try:
        kept = run(*options, "--keep=always", "-k", "http_put")
        assert kept.returncode == 0, kept.stdout
        line = sh(api, "tr '\\0' ' ' < /proc/$(pgrep -f '[i]ndex.js' | head -n 1)/cmdline")
        found = re.search(r"(/\S+)/index\.js", line)
        assert found is not None, line
        folder = Path(found[1])
        for above in [folder, *folder.parents]:
            assert sh(api, f"stat -c '%u' {above}") == "0\n"
            assert sh(api, f"find {above} -maxdepth 0 -perm /022") == ""
    finally:
        run(*options, "--circuit-teardown")
    attacked.assert_unchanged()


def test_a_circuit_without_a_home_finds_root_s_password(host: Host) -> None:
    """As one that a systemd unit runs as root: it has neither HOME nor USER."""
    sh(host, "systemctl start mariadb; until mariadb -e 'SELECT 1' >/dev/null; do sleep 0.1; done")
    sh(host, "mariadb -e \"ALTER USER root@localhost IDENTIFIED VIA mysql_native_password USING PASSWORD('pw')\"")
    sh(host, "umask 077; printf '[client]\\npassword=pw\\n' > /root/.my.cnf")
    try:
        with server(host, user="root", folder="/", environment={"PATH": "/usr/bin:/bin"}) as address:
            done = run(f"--circuit-addr={address}")
            assert done.returncode == 0, done.stdout
            with circuit.dial(address) as client:
                (anchor,) = client.view().values()
                words = run_shell(anchor, 'echo "$HOME $USER $LOGNAME $SHELL"').text
                assert words == "/root root root /bin/bash"
    finally:
        sh(host, 'mariadb -e "ALTER USER root@localhost IDENTIFIED VIA unix_socket"; rm /root/.my.cnf')
        sh(host, "systemctl stop mariadb")


@pytest.mark.parametrize("inherited", [{}, {"HOME": "/root", "USER": "root", "LOGNAME": "root", "SHELL": "/bin/no"}])
def test_commands_have_the_environment_of_their_user(host: Host, inherited: dict[str, str]) -> None:
    """Whatever the circuit server has inherited; as root, too."""
    environment = {"PATH": "/usr/bin:/bin", **inherited}
    with (
        server(host, user="ubuntu", folder="/", environment=environment) as address,
        circuit.dial(address) as client,
    ):
        (anchor,) = client.view().values()
        ask = 'echo "$HOME $USER $LOGNAME $SHELL $(pwd)"'
        assert run_shell(anchor, ask).text == "/home/ubuntu ubuntu ubuntu /bin/bash /"
        assert run_shell(anchor, as_root(ask)).text == "/root root root /bin/bash /"
