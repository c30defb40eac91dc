# Behind packages and apt. Use the host's own lists if they suffice; else fetch others, which are removed again.
: "${state?}" "${cache?}"
fetch() {
    apt -s install "$@" || return
    matches '^Inst ' "$state/log" > "$state/inst" || exit
    # With an incomplete log, as on a full disk, some packages would never be removed again.
    awk '/^Inst / { n-- } /^[0-9]+ upgraded, [0-9]+ newly installed/ { n += $1 + $3; counted = 1 }
        END { exit !(counted && n == 0) }' "$state/log" || {
        echo "what apt-get would install is not to be read in $state/log: is the disk full?" >&2
        exit 1
    }
    apt --download-only install "$@"
}
echo /var/lib/apt/lists > "$cache/use"
if [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*_Packages*' 2>/dev/null)" ] || ! fetch "$@"; then
    echo "$cache/lists" > "$cache/use"
    : > "$state/log"
    # One of several sources may be out of order without any effect on these packages.
    apt update || :
    fetch "$@" || fail
fi
for package; do
    version=$(sed -n "s/^Inst $package (\([^ ]*\) .*/\1/p" "$state/inst")
    [ -n "$version" ] || { echo "$package is installed already, and yet its program is not found: is its name right?" >&2; exit 1; }
    echo "$package $version"
done
upgrades=$(sed -n 's/^Inst \([^ ]*\) \[.*/\1/p' "$state/inst" | tr '\n' ' ')
[ -z "$upgrades" ] || {
    echo "that upgrades ${upgrades% }, which cannot be undone: upgrade the host first (apt-get upgrade)" >&2
    exit 1
}
# The configuration of a package that was removed earlier exists already: remove such a package, and purge others.
while read -r _ name _; do
    case $(dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null || :) in
    ?c*) echo "$name remove" ;;
    *) echo "$name purge" ;;
    esac
done < "$state/inst" > "$state/planned.new"
mv "$state/planned.new" "$state/planned"
