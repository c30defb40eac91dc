# Behind packages and apt. The host's own lists are used where they do; otherwise others are fetched, which go again.
: "${state?}" "${cache?}"
fetch() {
    apt -s install "$@" || return
    matches '^Inst ' "$state/log" > "$state/inst" || exit
    # Of a log that was cut off, as by a full disk, some would never be removed again.
    awk '/^Inst / { n-- } /^[0-9]+ upgraded, [0-9]+ newly installed/ { n += $1 + $3; told = 1 }
        END { exit !(told && n == 0) }' "$state/log" || {
        echo "what apt-get would install is not to be read in $state/log: is the disk full?" >&2
        exit 1
    }
    apt --download-only install "$@"
}
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
    [ -n "$version" ] || { echo "$package is installed already, and yet what it brings is not found" >&2; exit 1; }
    echo "$package $version"
done
upgrades=$(sed -n 's/^Inst \([^ ]*\) \[.*/\1/p' "$state/inst" | tr '\n' ' ')
[ -z "$upgrades" ] || {
    echo "that upgrades ${upgrades% }, which cannot be undone: upgrade the host first (apt-get upgrade)" >&2
    exit 1
}
# A package whose configuration is there was removed once, and is removed again; others are purged.
while read -r _ name _; do
    case $(dpkg-query -W -f '${db:Status-Abbrev}' "$name" 2>/dev/null || :) in
    ?c*) echo "$name remove" ;;
    *) echo "$name purge" ;;
    esac
done < "$state/inst" > "$state/planned.new"
mv "$state/planned.new" "$state/planned"
