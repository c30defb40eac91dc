"""Packages that are installed on a host for as long as a deployment stands, by apt-get, and purged with it.

The host itself writes down, root's alone and before the first is unpacked, which packages will come, and what was there
before: so all goes again, whenever the installing was cut short, and nothing that others have installed meanwhile.
apt-get fetches into a folder of its own: the host's lists and its cache of packages stay as they are.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from circuit import Anchor
from deploy.changes import FORCE, Changes
from deploy.errors import CommandFailed, Unfit
from deploy.prerequisites import DATA, check_offer
from deploy.record import FOLDER, Change
from deploy.shell import as_root, run_shell
from deploy.steps import Steps

PART = "packages"
"""The name of these changes in records."""

_LOCK_LIMIT_S = 120
_FETCH_LIMIT_S = 300.0
_INSTALL_LIMIT_S = 480.0
# The undoing waits for an installing that goes on although its runner was killed, and for dpkg's lock.
_UNDO_WAIT_S = 240
_UNDO_LIMIT_S = 480.0
# By Debian's policy.
_FIRST_PERSON = 1000

# What each of the scripts begins with. The installing and its undoing take turns by a lock, and what was undone stays
# so: a runner that is killed leaves its commands running.
_BEGIN = r"""
PATH=$PATH:/usr/sbin:/sbin
LC_ALL=C DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
APT_LISTCHANGES_FRONTEND=none NEEDRESTART_SUSPEND=yes UCF_FORCE_CONFFOLD=yes
export PATH LC_ALL DEBIAN_FRONTEND DEBCONF_NONINTERACTIVE_SEEN
export APT_LISTCHANGES_FRONTEND NEEDRESTART_SUSPEND UCF_FORCE_CONFFOLD
umask 022
cd /
policy=/usr/sbin/policy-rc.d
marks=/var/lib/apt/extended_states
# Lines that stand in one sorted file and not in another.
came() { comm -13 "$1.before" "$1.after" > "$1.new"; }
# Names with control characters are left alone, as lines could not tell them apart.
note() {
    find /etc -xdev -mindepth 1 ! -path '*[[:cntrl:]]*' | sort > "$state/etc.$1"
    find /var/lib /var/log /var/cache /var/spool -xdev -mindepth 1 -maxdepth 1 -type d ! -path '*[[:cntrl:]]*' |
        sort > "$state/var.$1"
    cut -d: -f1 /etc/passwd | sort > "$state/users.$1"
    cut -d: -f1 /etc/group | sort > "$state/groups.$1"
}
compare() {
    [ -e "$state/noted" ] && [ ! -e "$state/compared" ] || return 0
    if [ -n "$(find "$state/noted" -mmin +60)" ]; then
        # The host went down in between, most likely. What has come since may be anybody's.
        for what in etc var users groups; do : > "$state/$what.new"; done
        echo 'the installing was cut off long ago: what it left in /etc and /var besides packages stays' >&2
    else
        note after
        for what in etc var users groups; do came "$state/$what"; done
    fi
    : > "$state/compared"
}
# Until it is put back, packages start no service: it is for the deployment to start it, once it is configured.
forbid_starts() {
    [ ! -e $policy ] || { cp -p $policy "$state/policy.new"; mv "$state/policy.new" "$state/policy"; }
    printf '#!/bin/sh\nexit 101 # tutorial-deploy\n' > $policy
    chmod 755 $policy
}
allow_starts() {
    if [ -e "$state/policy" ]; then cp -p "$state/policy" $policy; rm -f "$state/policy"
    elif grep -qs '^exit 101 # tutorial-deploy$' $policy; then rm -f $policy; fi
}
"""

# apt-get waits for dpkg's lock by itself. Its output goes into a file, so that nobody has to read it for it to go on;
# what it says of errors is told.
_APT = rf"""
apt() {{
    TMPDIR=$cache/tmp apt-get -q -y --no-install-recommends --no-remove -o DPkg::Lock::Timeout={_LOCK_LIMIT_S} \
        -o Dir::Cache="$cache" -o Dir::State::lists="$(cat "$cache/use")" -o Acquire::Retries=2 \
        -o APT::Get::AutomaticRemove=false -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef \
        -o Dpkg::Options::=--force-confold "$@" >> "$state/log" 2>&1 < /dev/null 9>&-
}}
fail() {{
    told=$(grep -a -e '^[EW]: ' -e '^dpkg: error' -e '^ [^ ]' "$state/log" | tail -n 12)
    printf '%s\n' "${{told:-$(tail -n 3 "$state/log")}}" >&2
    exit 1
}}
[ -d "$state" ] && exec 9> "$state/lock" && flock -w {_LOCK_LIMIT_S} 9 && [ ! -e "$state/undone" ] || {{
    echo 'it is being undone already' >&2
    exit 1
}}
: > "$state/log"
"""

# The host's own lists are used where they do; otherwise others are fetched, which go again.
_FETCH = rf"""
set -eu
mkdir -p -m 700 {FOLDER} "$state"
mkdir -p "$cache/archives/partial" "$cache/lists/partial"
mkdir -p -m 1777 "$cache/tmp"
{_APT}
fetch() {{
    apt -s install "$@" || return
    grep -a '^Inst ' "$state/log" > "$state/inst" || :
    apt --download-only install "$@"
}}
echo /var/lib/apt/lists > "$cache/use"
if [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' 2>/dev/null)" ] || ! fetch "$@"; then
    echo "$cache/lists" > "$cache/use"
    : > "$state/log"
    # One source of several may be out of order, and not matter.
    apt update || :
    fetch "$@" || fail
fi
for package; do
    version=$(sed -n "s/^Inst $package (\([^ ]*\) .*/\1/p" "$state/inst")
    [ -n "$version" ] || {{ echo "$package is installed already, and yet what it brings is not found" >&2; exit 1; }}
    echo "$package $version"
done
upgrades=$(sed -n 's/^Inst \([^ ]*\) \[.*/\1/p' "$state/inst" | tr '\n' ' ')
[ -z "$upgrades" ] || {{
    echo "that upgrades ${{upgrades% }}, which cannot be undone: upgrade the host first (apt-get upgrade)" >&2
    exit 1
}}
# A package whose configuration is there was removed once, and is removed again; others are purged.
while read -r _ name _; do
    case $(dpkg-query -W -f '${{db:Status-Abbrev}}' "$name" 2>/dev/null || :) in
    ?c*) echo "$name remove" ;;
    *) echo "$name purge" ;;
    esac
done < "$state/inst" > "$state/planned.new"
mv "$state/planned.new" "$state/planned"
"""

_INSTALL = rf"""
set -eu
{_APT}
mkdir -p "$state/accounts"
for file in /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/subuid /etc/subgid; do
    for each in "$file" "$file-"; do [ ! -e "$each" ] || cp -p "$each" "$state/accounts/"; done
done
[ -e $marks ] || : > "$state/unmarked"
note before
sync "$state"/*
: > "$state/noted"
trap 'allow_starts; compare' EXIT
forbid_starts
apt install "$@" || fail
: > "$state/complete"
rm -rf "$cache"
"""

_UNDO = rf"""
[ -d "$state" ] || exit 0
: > "$state/undone"
exec 9> "$state/lock"
flock -w {_UNDO_WAIT_S} 9 || {{ echo 'the installing goes on' >&2; exit 1; }}
allow_starts
compare
# Again while another program holds dpkg's lock.
dpkg_waits() {{
    tries=0
    until said=$(dpkg "$@" 2>&1 < /dev/null 9>&-); do
        case $said in *locked*) ;; *) return 1 ;; esac
        [ $tries -lt {_LOCK_LIMIT_S} ] || return 1
        tries=$((tries + 1))
        sleep 1
    done
}}
said=
fail() {{ echo "$1" $(printf '%s\n' "$said" | grep -v -e '^(Reading' -e '^Would remove' | head -n 4) >&2; exit 1; }}
there() {{ # how
    while read -r name how; do
        case $how:$(dpkg-query -W -f '${{db:Status-Abbrev}}' "$name" 2>/dev/null) in
        *:?n* | *: | remove:?c*) ;;
        *) [ "$how" != "${{1-$how}}" ] || echo "$name" ;;
        esac
    done < "$state/planned"
}}
if [ -e "$state/planned" ]; then
    # Names of packages hold no blanks.
    all=$(there)
    if [ -d {DATA} ] && grep -qxs {DATA} "$state/var.new" && [ -z "${FORCE}" ]; then
        others=$(cd {DATA} && find . -mindepth 1 -maxdepth 1 -type d \
            ! -name mysql ! -name performance_schema ! -name sys ! -name '#*' | sed 's|^\./||')
        [ -z "$others" ] || fail "kept, as the server has other databases (--replace drops them): $others"
    fi
    if [ -n "$all" ]; then
        dpkg_waits --no-act --force-remove-reinstreq --remove $all || fail 'kept, as others need it:'
        dpkg_waits --force-remove-reinstreq --remove $all || fail 'cannot be removed:'
    fi
    purge=$(there purge)
    [ -z "$purge" ] || dpkg_waits --force-remove-reinstreq --purge $purge || fail 'cannot be purged:'
    # What apt-get remembers of them.
    if [ -e $marks ]; then
        awk -v names="$(sed 's/ .*//' "$state/planned")" '
            BEGIN {{
                RS = ""; ORS = "\n\n"
                for (i = split(names, name, "\n"); i; i--) ours[name[i]] = 1
            }}
            !($2 in ours)' $marks > "$state/marks.new"
        cmp -s "$state/marks.new" $marks || cat "$state/marks.new" > $marks
        [ -s $marks ] || [ ! -e "$state/unmarked" ] || rm -f $marks
    fi
    [ -e "$state/complete" ] || dpkg_waits --configure -a || fail 'what was cut short cannot be finished:'
fi
if [ -e "$state/compared" ]; then
    # Packages bring accounts of the system's; those of people came from elsewhere.
    system() {{ awk -F: -v name="$1" '$1 == name && $3 < {_FIRST_PERSON} {{ found = 1 }} END {{ exit !found }}' "$2"; }}
    while read -r name; do
        ! system "$name" /etc/passwd || said=$(userdel "$name" 2>&1 9>&-) || fail "user $name stays:"
    done < "$state/users.new"
    while read -r name; do
        ! system "$name" /etc/group || said=$(groupdel "$name" 2>&1 9>&-) || fail "group $name stays:"
    done < "$state/groups.new"
    # Deepest first. What belongs to a package by now is not ours.
    sort -r "$state/etc.new" "$state/var.new" | while read -r path; do
        if [ ! -e "$path" ] && [ ! -L "$path" ]; then continue; fi
        ! dpkg-query -S "$path" >/dev/null 2>&1 || continue
        case $path in
        /var/*) rm -rf "$path" ;;
        *) if [ -d "$path" ] && [ ! -L "$path" ]; then rmdir "$path" 2>/dev/null; else rm -f "$path"; fi ;;
        esac
    done
    # The copies that the tools for accounts make: put back where the accounts are as they were.
    for file in /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/subuid /etc/subgid; do
        saved=$state/accounts/${{file##*/}}
        cmp -s "$saved" "$file" || continue
        if [ ! -e "$saved-" ]; then rm -f "$file-"
        elif ! cmp -s "$saved-" "$file-"; then cp -p "$saved-" "$file-"; fi
    done
fi
rm -rf "$cache" "$state"
"""


def install(host: Anchor, packages: Sequence[str], changes: Changes, *, steps: Steps) -> None:
    """Install packages of the host's archives, with what they depend on, until the deployment is taken down.

    Services that they bring are not started. dpkg's lock is waited for, for 120 s.

    :raises Unfit: apt-get refuses, or would have to upgrade or remove what is there, which could not be undone; what
        was done is undone with the deployment.
    :raises CommandTimedOut: that is not done after 5 minutes for fetching, or 8 for installing.
    """
    named = ", ".join(packages)
    begin = _begin(changes.record.run)

    def run(script: str, limit: float) -> str:
        try:
            return run_shell(host, as_root(f"set -- {shlex.join(packages)}\n{begin}\n{script}"), timeout=limit).text
        except CommandFailed as error:
            raise Unfit(f"host {host.name}: {named} cannot be installed: {error.said}") from None

    with steps.step(f"fetch {named}", host.name):
        changes.add(_packages(named, begin, changes.record.run))
        for line in run(_FETCH, _FETCH_LIMIT_S).splitlines():
            check_offer(host.name, *line.split())
    with steps.step(f"install {named}", host.name):
        run(_INSTALL, _INSTALL_LIMIT_S)


def _packages(named: str, begin: str, run: str) -> Change:
    """The change that packages come."""
    return Change(
        f"remove {named}, and what came with it",
        PART,
        f"{begin}\n{_UNDO}",
        proof=f"[ ! -d {_state(run)} ] || echo '{named} cannot be shown to be removed: {_state(run)} is there'",
        limit=_UNDO_LIMIT_S,
    )


def _begin(run: str) -> str:
    return f"state={_state(run)}\ncache=/var/cache/tutorial-deploy-{run}\n{_BEGIN}"


def _state(run: str) -> str:
    # Not the folder of the run's other backups, which goes when these are put back.
    return f"{FOLDER}/{run}-packages"
