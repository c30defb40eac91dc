"""Packages that are installed on a host for as long as a deployment stands, by apt-get, and purged with it.

The host itself writes down, root's alone and before the first is unpacked, which packages will come, and what was there
before: so all goes again, whenever the installing was cut short, and nothing that others have installed meanwhile.
What packages leave behind when they are purged is removed only where one of them names it; whatever else appeared in
that time is somebody's, stays, and is reported. apt-get fetches into a folder of its own: the host's lists and its
cache of packages stay as they are.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from circuit_harness.errors import CommandFailed, Unfit
from circuit_harness.remote.command import root
from circuit_harness.remote.host import Host
from circuit_harness.steps import Steps
from deploy.changes import FORCE, REMARK, Changes
from deploy.edits import PUT
from deploy.prerequisites import DATA, check_offer
from deploy.record import FOLDER, Change

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
_MOST_REMARKS = 12

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
info=/var/lib/dpkg/info
# The lines of a command, sorted, in a file that is whole or not there; a pipe would lose the command's failure.
list() { # file command...
    list=$1
    shift
    "$@" > "$list.new" && sort -u -o "$list.new" "$list.new" && mv "$list.new" "$list"
}
# Lines that stand in one sorted file and not in another.
came() { list "$1.new" comm -13 "$1.before" "$1.after"; }
# Names with control characters are left alone, as lines could not tell them apart. What goes meanwhile is no failure.
note() {
    list "$state/etc.$1" find /etc -xdev -ignore_readdir_race -mindepth 1 ! -path '*[[:cntrl:]]*' &&
        list "$state/var.$1" find /var/lib /var/log /var/cache /var/spool -xdev -ignore_readdir_race \
            -mindepth 1 -maxdepth 1 -type d ! -path '*[[:cntrl:]]*' &&
        list "$state/users.$1" cut -d: -f1 /etc/passwd &&
        list "$state/groups.$1" cut -d: -f1 /etc/group
}
compare() {
    [ -e "$state/noted" ] && [ ! -e "$state/compared" ] || return 0
    old=$(find "$state/noted" -mmin +60) || return
    if [ -n "$old" ]; then
        # The host went down in between, most likely. What has come since may be anybody's.
        for what in etc var users groups; do : > "$state/$what.new" || return; done
        echo "${remark}the installing was cut off long ago: what it left in /etc and /var besides packages stays"
    else
        note after && came "$state/etc" && came "$state/var" && came "$state/users" && came "$state/groups" || return
    fi
    : > "$state/compared"
}
# What packages say of themselves: their lists of files and their scripts. Of what was cut short while it was unpacked
# there is only the archive.
tell_of() { # kind...
    for deb in "$cache"/archives/*.deb; do
        told=$state/control/${deb##*/}
        [ -f "$deb" ] && [ ! -e "$told/list" ] || continue
        mkdir -p "$state/control" && rm -rf "$told" && dpkg-deb --control "$deb" "$told" &&
            dpkg-deb --fsys-tarfile "$deb" | tar -t | sed 's/^\.//; s|/$||' > "$told/list.new" &&
            mv "$told/list.new" "$told/list" || return
    done
    while read -r name _; do
        for kind; do
            for file in "$info/${name%:*}.$kind" "$info/${name%:*}":*".$kind" "$state/control/${name%:*}"_*/"$kind"; do
                [ ! -f "$file" ] || echo "$file"
            done
        done
    done < "$state/planned"
}
# A path, and all folders above it; what stands in /lib stands in /usr/lib, too.
with_folders() {
    awk '
        function add(path) {
            while (path != "" && !(path in seen)) { seen[path] = 1; print path; sub("/[^/]*$", "", path) }
        }
        { sub("/+$", ""); add($0) }
        /^\/(bin|sbin|lib[^\/]*)\// { add("/usr" $0) }
        /^\/usr\/(bin|sbin|lib[^\/]*)\// { add(substr($0, 5)) }' "$@"
}
matches() { grep -a "$@" || [ $? = 1 ]; }
# Which of what has come is the packages': what one of them names, or what leads to that. Looked up while the packages
# are there, and kept.
claim() {
    [ -e "$state/compared" ] && [ -s "$state/planned" ] || return 0
    tell_of list > "$state/lists" &&
        tell_of conffiles preinst postinst prerm postrm config templates > "$state/scripts" &&
        # Names of these files hold no blanks.
        cat /dev/null $(cat "$state/lists") > "$state/listed" &&
        matches -E '^(/usr)?/lib/(sysusers|tmpfiles)\.d/[^/]+\.conf$' "$state/listed" > "$state/confs" &&
        cat /dev/null $(cat "$state/scripts") > "$state/texts" || return
    while read -r file; do [ ! -f "$file" ] || cat "$file" || return; done < "$state/confs" >> "$state/texts" || return
    matches -oE '/[A-Za-z0-9._@+~/-]+' "$state/texts" > "$state/words" &&
        list "$state/named" with_folders "$state/listed" "$state/words" &&
        list "$state/came" cat "$state/etc.new" "$state/var.new" &&
        list "$state/unnamed" comm -23 "$state/came" "$state/named" &&
        comm -12 "$state/came" "$state/named" > "$state/ours.new" || return
    # Links that packages' tools make: to start a service, to choose an alternative, to find a certificate.
    while read -r path; do
        end=$path hops=0
        while [ -L "$end" ] && [ $hops -lt 5 ]; do
            to=$(readlink "$end") && hops=$((hops + 1)) || return
            case $to in /*) ;; *) to=${end%/*}/$to ;; esac
            end=$(realpath -ms "$to") || return
            [ -d "$end" ] || ! grep -qxFe "$end" "$state/named" || { echo "$path" || return; break; }
        done
    done < "$state/unnamed" >> "$state/ours.new" || return
    list "$state/above" with_folders "$state/ours.new" &&
        comm -12 "$state/came" "$state/above" >> "$state/ours.new" &&
        { [ ! -e "$state/ours" ] || cat "$state/ours" >> "$state/ours.new"; } || return
    # Accounts are made by scripts, some of which have their names in variables.
    makers=$(matches -lE '\b((add|del)(user|group)|(user|group)add|systemd-sysusers)\b' \
        /dev/null $(cat "$state/scripts")) &&
        cat /dev/null $makers > "$state/texts" || return
    while read -r file; do
        case $file in */sysusers.d/*) [ ! -f "$file" ] || cat "$file" || return ;; esac
    done < "$state/confs" >> "$state/texts" || return
    matches -oE '[A-Za-z_][A-Za-z0-9_.-]*' "$state/texts" > "$state/accounted.new" &&
        { [ ! -e "$state/accounted" ] || cat "$state/accounted" >> "$state/accounted.new"; } &&
        mv "$state/accounted.new" "$state/accounted" && mv "$state/ours.new" "$state/ours"
}
# Until it is put back, packages start no service: it is for the deployment to start it, once it is configured.
forbid_starts() {
    [ ! -e $policy ] || { cp -p $policy "$state/policy.new" && cmp -s $policy "$state/policy.new" &&
        sync "$state/policy.new" && mv "$state/policy.new" "$state/policy"; } || return
    printf '#!/bin/sh\nexit 101 # tutorial-deploy\n' > "$state/forbid" && chmod 755 "$state/forbid" &&
        put "$state/forbid" $policy "$state/forbid"
}
allow_starts() {
    rm -f $policy.tutorial-new
    if [ -e "$state/policy" ]; then put "$state/policy" $policy "$state/policy" && rm -f "$state/policy"
    elif grep -qs '^exit 101 # tutorial-deploy$' $policy; then rm -f $policy; fi
}
finish() { allow_starts && compare && claim; }
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
    told=${{told:-$(tail -n 3 "$state/log")}}
    printf '%s\n' "${{told:-apt-get failed, and $state/log has nothing of why: is the disk full?}}" >&2
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
    matches '^Inst ' "$state/log" > "$state/inst" || exit
    # Of a log that was cut off, as by a full disk, some would never be removed again.
    awk '/^Inst / {{ n-- }} /^[0-9]+ upgraded, [0-9]+ newly installed/ {{ n += $1 + $3; told = 1 }}
        END {{ exit !(told && n == 0) }}' "$state/log" || {{
        echo "what apt-get would install is not to be read in $state/log: is the disk full?" >&2
        exit 1
    }}
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
trap finish EXIT
forbid_starts
apt install "$@" || fail
: > "$state/complete"
rm -rf "$cache"
trap - EXIT
finish
"""

_UNDO = rf"""
[ -d "$state" ] || exit 0
said=
fail() {{ echo "$1" $(printf '%s\n' "$said" | grep -v -e '^(Reading' -e '^Would remove' | head -n 4) >&2; exit 1; }}
: > "$state/undone" && exec 9> "$state/lock" || fail "$state cannot be written to"
flock -w {_UNDO_WAIT_S} 9 || fail 'the installing goes on'
finish || fail 'nothing is removed, as what came with the packages cannot be told from the rest (is the disk full?)'
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
    # Others' packages, too, are left half way where what they do about ours, such as ldconfig, has failed.
    unfinished=
    [ -e "$state/complete" ] && [ ! -e "$state/removing" ] || unfinished=yes
    if [ -d {DATA} ] && grep -qxs {DATA} "$state/var.new" && [ -z "${FORCE}" ]; then
        others=$(cd {DATA} && find . -mindepth 1 -maxdepth 1 -type d \
            ! -name mysql ! -name performance_schema ! -name sys ! -name '#*') || fail "{DATA} cannot be read"
        others=$(printf '%s\n' "$others" | sed 's|^\./||')
        [ -z "$others" ] || fail "kept, as the server has other databases (--replace drops them): $others"
    fi
    if [ -n "$all" ]; then
        dpkg_waits --no-act --force-remove-reinstreq --remove $all || fail 'kept, as others need it:'
        : > "$state/removing"
        dpkg_waits --force-remove-reinstreq --remove $all || fail 'cannot be removed:'
    fi
    purge=$(there purge)
    [ -z "$purge" ] || dpkg_waits --force-remove-reinstreq --purge $purge || fail 'cannot be purged:'
    # What apt-get remembers of them. The last line shows that all were written.
    if [ -e $marks ]; then
        rm -f $marks.tutorial-new
        awk -v names="$(sed 's/ .*//' "$state/planned")" '
            BEGIN {{
                RS = ""; ORS = "\n\n"
                for (i = split(names, name, "\n"); i; i--) ours[name[i]] = 1
            }}
            !($2 in ours)
            END {{ print "end" }}' $marks > "$state/marks.all" &&
            [ "$(tail -n 2 "$state/marks.all")" = end ] && head -n -2 "$state/marks.all" > "$state/marks.new" &&
            {{ cmp -s "$state/marks.new" $marks || put "$state/marks.new" $marks $marks; }} ||
            fail "what apt-get remembers of them in $marks cannot be written (is the disk full?), and is as it was"
        [ -s $marks ] || [ ! -e "$state/unmarked" ] || rm -f $marks
    fi
    [ -z "$unfinished" ] || dpkg_waits --configure -a || fail 'what was cut short cannot be finished:'
fi
if [ -e "$state/compared" ]; then
    touch "$state/ours" "$state/accounted" && : > "$state/left" || fail "$state cannot be written to"
    # Packages bring accounts of the system's; those of people, and of programs that came otherwise, stay.
    remove() {{ # what name file command
        awk -F: -v name="$2" '$1 == name && $3 < {_FIRST_PERSON} {{ found = 1 }} END {{ exit !found }}' "$3" || return 0
        if grep -qxFe "$2" "$state/accounted"; then said=$("$4" "$2" 2>&1 9>&-) || fail "$1 $2 stays:"
        else echo "$1 $2" >> "$state/left" || fail "$state cannot be written to"; fi
    }}
    while read -r name; do remove user "$name" /etc/passwd userdel; done < "$state/users.new"
    while read -r name; do remove group "$name" /etc/group groupdel; done < "$state/groups.new"
    # Deepest first. What belongs to a package by now is not ours.
    sort -r "$state/etc.new" "$state/var.new" > "$state/came" || fail "$state cannot be written to"
    leave() {{ echo "$path" >> "$state/left" || fail "$state cannot be written to"; }}
    while read -r path; do
        if [ ! -e "$path" ] && [ ! -L "$path" ]; then continue; fi
        ! dpkg-query -S "$path" >/dev/null 2>&1 || continue
        if ! grep -qxFe "$path" "$state/ours"; then leave
        elif [ "${{path#/var/}}" != "$path" ]; then rm -rf "$path" || fail "$path stays"
        elif [ -d "$path" ] && [ ! -L "$path" ]; then rmdir "$path" 2>/dev/null || leave
        else rm -f "$path" || fail "$path stays"; fi
    done < "$state/came"
    # Of a folder and what is in it, one: a folder of others', or what keeps a folder of ours.
    awk -v remark="$remark" '
        function above(path) {{ return sub("/[^/]*$", "", path) ? path : "" }}
        FILENAME == ARGV[1] {{ ours[$0] = 1; next }}
        {{ lines[++n] = $0; left[$0] = 1 }}
        END {{
            for (i = 1; i <= n; i++) {{
                parent = above(lines[i])
                if (lines[i] in ours ? !(lines[i] in holds) : !(parent in left) || parent in ours)
                    if (++shown <= {_MOST_REMARKS})
                        print remark "not removed, as none of the packages that came names it: " lines[i]
                for (path = parent; path != ""; path = above(path)) holds[path] = 1
            }}
            if (shown > {_MOST_REMARKS}) print remark "not removed either: " shown - {_MOST_REMARKS} " more"
        }}' "$state/ours" "$state/left"
    # The copies that the tools for accounts make: put back where the accounts are as they were.
    for file in /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/subuid /etc/subgid; do
        saved=$state/accounts/${{file##*/}}
        rm -f "$file-.tutorial-new"
        cmp -s "$saved" "$file" || continue
        if [ ! -e "$saved-" ]; then rm -f "$file-"
        elif ! cmp -s "$saved-" "$file-"; then put "$saved-" "$file-" "$saved-" || fail "$file- is not as it was"; fi
    done
fi
rm -rf "$cache" "$state"
"""


def install(host: Host, packages: Sequence[str], changes: Changes, *, steps: Steps) -> None:
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
            return host.run(root(f"set -- {shlex.join(packages)}\n{begin}\n{script}"), timeout=limit).text
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
    places = f"state={_state(run)}\ncache=/var/cache/tutorial-deploy-{run}"
    return f"{places}\nremark={shlex.quote(REMARK)}\n{PUT}{_BEGIN}"


def _state(run: str) -> str:
    # Not the folder of the run's other backups, which goes when these are put back.
    return f"{FOLDER}/{run}-packages"
