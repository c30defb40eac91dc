: "${state:?}" "${cache:?}" "${remark:?}" "${lock_limit_s:?}"
# Behind put: the beginning of all scripts about packages. A lock keeps the installation and its undoing apart, and an
# installation that was undone cannot continue: a killed runner leaves its commands running.
# sudo may have set another path for root.
PATH=$PATH:/usr/sbin:/sbin
LC_ALL=C DEBIAN_FRONTEND=noninteractive DEBCONF_NONINTERACTIVE_SEEN=true
APT_LISTCHANGES_FRONTEND=none NEEDRESTART_SUSPEND=yes UCF_FORCE_CONFFOLD=yes
export PATH LC_ALL DEBIAN_FRONTEND DEBCONF_NONINTERACTIVE_SEEN
export APT_LISTCHANGES_FRONTEND NEEDRESTART_SUSPEND UCF_FORCE_CONFFOLD
umask 022
cd /
policy=/usr/sbin/policy-rc.d
# shellcheck disable=SC2034
marks=/var/lib/apt/extended_states
info=/var/lib/dpkg/info
# Write the sorted output of a command to a file that is complete or missing; a pipe would lose the command's failure.
list() { # file command...
    list=$1
    shift
    "$@" > "$list.new" && sort -u -o "$list.new" "$list.new" && mv "$list.new" "$list"
}
# Print the lines of one sorted file that another does not have.
came() { list "$1.new" comm -13 "$1.before" "$1.after"; }
# Names with control characters are left out, because lines cannot represent them. A file may vanish meanwhile.
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
        # Most likely, the host was restarted in between. What has appeared since may be anybody's.
        for what in etc var users groups; do : > "$state/$what.new" || return; done
        echo "${remark}the installing was cut off long ago: what it left in /etc and /var besides packages stays"
    else
        note after && came "$state/etc" && came "$state/var" && came "$state/users" && came "$state/groups" || return
    fi
    : > "$state/compared"
}
# Print what packages contain: their lists of files and their scripts. Of a package whose unpacking was interrupted,
# there is only the archive.
tell_of() { # kind...
    for deb in "$cache"/archives/*.deb; do
        described=$state/control/${deb##*/}
        [ -f "$deb" ] && [ ! -e "$described/list" ] || continue
        mkdir -p "$state/control" && rm -rf "$described" && dpkg-deb --control "$deb" "$described" &&
            dpkg-deb --fsys-tarfile "$deb" | tar -t | sed 's/^\.//; s|/$||' > "$described/list.new" &&
            mv "$described/list.new" "$described/list" || return
    done
    while read -r name _; do
        for kind; do
            for file in "$info/${name%:*}.$kind" "$info/${name%:*}":*".$kind" "$state/control/${name%:*}"_*/"$kind"; do
                [ ! -f "$file" ] || echo "$file"
            done
        done
    done < "$state/planned"
}
# A path, and all folders above it; a file in /lib is also in /usr/lib.
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
# Find out which of the new paths belong to the packages: those that one of them names, and the folders above these.
# This must run while the packages are installed; its result is kept.
claim() {
    [ -e "$state/compared" ] && [ -s "$state/planned" ] || return 0
    # shellcheck disable=SC2046
    tell_of list > "$state/lists" &&
        tell_of conffiles preinst postinst prerm postrm config templates > "$state/scripts" &&
        # Names of these files contain no blanks.
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
    # Scripts make the accounts, and some have the accounts' names in variables.
    # shellcheck disable=SC2046,SC2086
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
# Until this is restored, packages start no service: the deployment starts it after it is configured.
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
