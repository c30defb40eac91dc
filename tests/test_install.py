"""--install, on real hosts that lack things: what comes, and that all of it goes, whatever happens in between."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from localhosts import Cluster, Host
from localhosts.proxy import PackageProxy
from tests.jobs import Watched, named, run, run_and, run_until, sh

CHECK = "test_schema_columns"
"""A check that has only MySQL deployed, and so concerns one host."""

LOCKED_S = 4
HOLD_LOCK = """
import fcntl, glob, time
with open("/var/lib/dpkg/lock-frontend", "w") as front, open("/var/lib/dpkg/lock", "w") as lock:
    fcntl.lockf(front, fcntl.LOCK_EX)
    fcntl.lockf(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    limit = time.monotonic() + 60
    while not glob.glob("/var/lib/tutorial-deploy/*-packages/{begun}") and time.monotonic() < limit:
        time.sleep(0.05)
    time.sleep({seconds})
"""
"""Holds dpkg's lock for some seconds more once a file shows that the installing or its undoing has begun."""


OTHERS = """
mkdir -p /var/lib/rancher /etc/letsencrypt/live/x /etc/cron.d /var/spool/x
for file in /var/lib/rancher/data /etc/letsencrypt/live/x/privkey.pem /etc/cron.d/x /var/spool/x/data; do
    echo theirs > $file
done
ln -s /root/theirs /etc/rc2.d/S01theirs
useradd --system theirs
"""
"""What others do on a host while packages are installed there."""

LOOK_FOR_OTHERS = """
cat /var/lib/rancher/data /etc/letsencrypt/live/x/privkey.pem /etc/cron.d/x /var/spool/x/data
readlink /etc/rc2.d/S01theirs; id -un theirs
"""
REMOVE_OTHERS = """
rm -r /var/lib/rancher /etc/letsencrypt /etc/cron.d/x /var/spool/x /etc/rc2.d/S01theirs
rmdir --ignore-fail-on-non-empty /etc/cron.d
userdel theirs
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two hosts that lack little, so that it comes and goes in seconds, and have the archive's lists."""
    with Cluster(2) as made, PackageProxy(made.gateway) as proxy:
        for host in made.hosts:
            ok(host, f"""echo 'Acquire::http::Proxy "{proxy}";' > /etc/apt/apt.conf.d/99proxy""")
            purge(host, "curl")
            ok(host, "apt-get -q update")
        yield made


def ok(host: Host, script: str) -> str:
    done = host.run("/bin/sh", "-ec", f"export DEBIAN_FRONTEND=noninteractive; {script}", timeout=120)
    assert done.returncode == 0, done
    return done.stdout.decode()


def purge(host: Host, *packages: str) -> None:
    """Remove packages from a host as if they had never been there."""
    ok(host, f"apt-get -q -y purge {' '.join(packages)}; apt-get -q -y --purge autoremove")


def deploy(watched: Watched, *options: str) -> subprocess.CompletedProcess[str]:
    return run(*named(watched.cluster), "--install", "-k", CHECK, *options)


def tear_down(watched: Watched, *options: str) -> subprocess.CompletedProcess[str]:
    return run(*named(watched.cluster), "--circuit-teardown", *options)


@contextmanager
def configured(watched: Watched, text: str) -> Iterator[None]:
    """Have apt-get on all hosts configured in some other way."""
    for host in watched.cluster.hosts:
        ok(host, f"cat > /etc/apt/apt.conf.d/zz-test <<'EOF'\n{text}\nEOF")
    try:
        yield
    finally:
        for host in watched.cluster.hosts:
            ok(host, "rm /etc/apt/apt.conf.d/zz-test")


def test_a_plan_tells_what_would_be_installed(watched: Watched) -> None:
    told = run(*named(watched.cluster), "--plan", "--install")
    assert told.returncode == 0, told.stdout
    for name in watched.roles:
        assert f"{name}: install curl, and what they depend on; " in told.stdout
    watched.assert_unchanged()


def test_what_is_missing_comes_and_goes(watched: Watched) -> None:
    done = deploy(watched)
    assert done.returncode == 0, done.stdout
    steps = re.findall(r"s  (fetch|install|remove) curl.* \[(\w+)\]$", done.stdout, re.MULTILINE)
    assert steps == [(verb, "mysql") for verb in ("fetch", "install", "remove")]
    assert f"  mysql: {watched.roles[0]}" in done.stdout
    watched.assert_unchanged()


def test_what_is_installed_stays_with_what_is_kept(watched: Watched) -> None:
    done = deploy(watched, "--keep=always")
    assert done.returncode == 0, done.stdout
    try:
        host = watched.named(watched.roles[0])
        assert sh(host, "stat -c '%a %U' /var/lib/tutorial-deploy/*-packages").strip() == "700 root"
        assert sh(host, "ls -d /var/cache/tutorial-deploy-* /usr/sbin/policy-rc.d") == ""
        checked = run(*named(watched.cluster), "--attach", "-k", CHECK)
        assert checked.returncode == 0, checked.stdout

        refused = run(*named(watched.cluster), "--replace", "-k", CHECK)
        assert refused.returncode == pytest.ExitCode.TESTS_FAILED
        assert "has installed packages, which are removed with it: give --install, too" in refused.stdout
    finally:
        ended = tear_down(watched)
    assert ended.returncode == 0, ended.stdout
    watched.assert_unchanged()


def test_the_addresses_recorded_are_those_that_are_deployed_by(watched: Watched) -> None:
    # The metadata service, which tells a public address of its own, is found once packages have come, and no sooner.
    host = watched.named(watched.roles[0])
    service = "169.254.169.254/32 dev lo"
    ok(host, f"ip address del {service}")
    try:
        with configured(watched, f'DPkg::Post-Invoke {{ "ip address replace {service}"; }};'):
            done = deploy(watched, "--keep=always")
        recorded = json.loads(ok(host, "cat /var/lib/tutorial-deploy/record.json"))["addresses"]
    finally:
        sh(host, f"ip address replace {service}")
        ended = tear_down(watched)
    assert done.returncode == 0, done.stdout
    assert (recorded["private_from"], recorded["public"]) == ("metadata", host.public_address)
    assert ended.returncode == 0, ended.stdout
    watched.assert_unchanged()


def test_what_others_make_meanwhile_is_left_and_told(watched: Watched) -> None:
    host = watched.named(watched.roles[0])
    accounts = "/etc/passwd /etc/group /etc/shadow /etc/gshadow"
    ok(host, f"mkdir /root/saved; for file in {accounts}; do cp -p $file $file- /root/saved/; done")
    ok(host, f"cat > /root/others <<'EOF'\n{OTHERS}\nEOF")
    try:
        # Before anything is unpacked, and on MySQL's host alone.
        with configured(watched, 'DPkg::Pre-Invoke { "[ ! -e /root/others ] || /bin/sh -e /root/others"; };'):
            done = deploy(watched)
        left = sh(host, LOOK_FOR_OTHERS)
        brought = sh(host, "dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' curl; ls -d /var/lib/tutorial-deploy")
    finally:
        sh(host, f"{REMOVE_OTHERS}cp -p /root/saved/* /etc/; rm -r /root/saved /root/others")
    assert left == "theirs\n" * 4 + "/root/theirs\n" + "theirs\n"
    assert brought == ""
    assert done.returncode == 0, done.stdout
    for name in ("/var/lib/rancher", "/etc/letsencrypt", "/etc/cron.d", "/var/spool/x", "/etc/rc2.d/S01theirs"):
        assert f"not removed, as none of the packages that came names it: {name}" in done.stdout
    assert "names it: user theirs\n" in done.stdout
    watched.assert_unchanged()


def test_what_others_have_come_to_need_is_left_and_told(watched: Watched) -> None:
    host = watched.named(watched.roles[0])
    done = deploy(watched, "--keep=always")
    assert done.returncode == 0, done.stdout
    control = "Package: needs-curl\\nVersion: 1\\nArchitecture: all\\nDepends: curl\\nMaintainer: a\\nDescription: b\\n"
    ok(host, f"mkdir -p /root/p/DEBIAN; printf '{control}' > /root/p/DEBIAN/control; dpkg-deb -b /root/p /root/p.deb")
    ok(host, "dpkg -i /root/p.deb; rm -r /root/p /root/p.deb")
    try:
        refused = tear_down(watched)
        there = sh(host, "dpkg-query -W -f '${db:Status-Abbrev} ${Package}' curl")
    finally:
        ok(host, "dpkg --purge needs-curl")
        ended = tear_down(watched)
    assert refused.returncode == pytest.ExitCode.TESTS_FAILED
    reason = "kept, as others need it: dpkg: dependency problems prevent removal of curl: needs-curl depends on curl"
    assert reason in refused.stdout
    assert there == "ii  curl"
    assert ended.returncode == 0, ended.stdout
    watched.assert_unchanged()


@pytest.mark.parametrize("line", ["look at the hosts", "fetch curl"], ids=["fetching", "installing"])
def test_ctrl_c_removes_what_has_come(watched: Watched, line: str) -> None:
    status, output = run_until(line, signal.SIGINT, *named(watched.cluster), "--install", "-k", CHECK)
    assert status == pytest.ExitCode.INTERRUPTED, output
    watched.assert_unchanged()


@pytest.mark.parametrize("line", ["look at the hosts", "fetch curl"], ids=["fetching", "installing"])
def test_a_run_that_is_killed_is_cleared_away(watched: Watched, line: str) -> None:
    def kill(process: subprocess.Popen[str]) -> None:
        # So that it is under way.
        time.sleep(0.5)
        process.kill()

    status, output = run_and(line, kill, *named(watched.cluster), "--install", "-k", CHECK)
    assert status == -signal.SIGKILL, output
    ended = tear_down(watched)
    assert ended.returncode == 0, ended.stdout
    watched.assert_unchanged()


def test_what_was_cut_short_half_way_is_removed(watched: Watched) -> None:
    # Unpacked is all, configured nothing, and apt-get gone, as if the host had lost its power.
    cut = '#!/bin/sh\ncase $* in *--configure*) kill -KILL $PPID; exit 1 ;; esac\nexec /usr/bin/dpkg "$@"\n'
    hosts = watched.cluster.hosts
    for host in hosts:
        host.run(
            "/bin/sh", "-c", "cat > /usr/local/bin/cut-dpkg; chmod 755 /usr/local/bin/cut-dpkg", input=cut.encode()
        )
    with configured(watched, 'Dir::Bin::dpkg "/usr/local/bin/cut-dpkg";'):
        done = deploy(watched)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "curl cannot be installed: " in done.stdout
    assert "left behind" not in done.stdout
    for host in hosts:
        ok(host, "rm /usr/local/bin/cut-dpkg")
    watched.assert_unchanged()


def test_dpkg_s_lock_is_waited_for(watched: Watched) -> None:
    host = watched.named(watched.roles[0])

    def hold(begun: str) -> None:
        script = HOLD_LOCK.format(seconds=LOCKED_S, begun=begun)
        holding = "until grep -qs held /root/held; do sleep 0.05; done"
        ok(host, f"rm -f /root/held; python3 -c '{script}' < /dev/null > /root/held 2>&1 & {holding}")

    hold("log")
    status, output = run_and("PASSED", lambda _: hold("undone"), *named(watched.cluster), "--install", "-k", CHECK)
    assert status == 0, output
    waited = re.findall(r"([\d.]+) s  (?:fetch|remove) curl.*\[mysql\]$", output, re.MULTILINE)
    assert [float(seconds) > 2 for seconds in waited] == [True, True], output
    ok(host, "rm /root/held")
    watched.assert_unchanged()


def test_what_cannot_be_undone_is_not_done(watched: Watched) -> None:
    host = watched.named(watched.roles[0])
    # What curl needs is there, and too old for it.
    ok(host, "apt-get -q -y install libpsl5")
    ok(host, "sed -i '/^Package: libpsl5$/,/^$/s/^Version: .*/Version: 0.1-1/' /var/lib/dpkg/status")
    try:
        outdated = Watched(watched.cluster)
        done = deploy(watched)
        assert done.returncode == pytest.ExitCode.TESTS_FAILED
        refusal = "cannot be installed: that upgrades libpsl5, which cannot be undone: upgrade the host first"
        assert refusal in done.stdout
        outdated.assert_unchanged()
    finally:
        purge(host, "libpsl5")
        ok(host, "apt-get -q clean")
    watched.assert_unchanged()


def test_an_archive_that_is_out_of_reach(watched: Watched) -> None:
    with configured(watched, 'Acquire::http::Proxy "http://127.0.0.1:9";\nAcquire::Retries "0";'):
        done = deploy(watched)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "curl cannot be installed: " in done.stdout
    assert "Could not connect to 127.0.0.1:9" in done.stdout
    watched.assert_unchanged()


def test_hosts_that_have_nothing(watched: Watched) -> None:
    for host in watched.cluster.hosts:
        purge(host, "mariadb-server", "nodejs")
        # Not purged: what was configured of it stays.
        ok(host, "apt-get -q -y remove iproute2; apt-get -q -y --purge autoremove")
        ok(host, "rm -rf /var/lib/mysql /var/log/mysql /etc/mysql /var/lib/apt/lists/*_*")
        assert "rc  iproute2" in sh(host, "dpkg-query -W -f '${db:Status-Abbrev} ${Package}\\n'")
    bare = Watched(watched.cluster)

    refused = run(*named(watched.cluster))
    assert refused.returncode == pytest.ExitCode.TESTS_FAILED
    assert "the hosts lack 7 things that are needed (--install does that, and undoes it):" in refused.stdout
    bare.assert_unchanged()

    kept = run(*named(watched.cluster), "--install", "--keep=always", "-m", "mysql or nodejs", "-rs")
    assert kept.returncode == 0, kept.stdout
    # Debian 12's MariaDB, as its package sets it up.
    assert len(re.findall(r"SKIPPED .*: the server, 10\.11\.\S+, has no TLS", kept.stdout)) == 2, kept.stdout
    host = watched.named(watched.roles[0])
    ok(host, "mariadb -e 'CREATE DATABASE precious'")
    ended = tear_down(watched)
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED
    assert "kept, as the server has other databases (--replace drops them): precious" in ended.stdout
    assert "precious" in ok(host, "ls /var/lib/mysql")
    ended = tear_down(watched, "--replace")
    assert ended.returncode == 0, ended.stdout
    bare.assert_unchanged()
