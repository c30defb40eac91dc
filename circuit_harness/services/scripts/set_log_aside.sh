: "${log:?}" "${folder:?}" "${name:?}" "${kept:?}"
# For root and "set -e": set aside what stands in the log's place, to come back. It is renamed within its own folder, into
# one of root's: a rename follows no link and opens no file, whatever others put there meanwhile. Where to is written down
# first.
if [ -e "$log" ] || [ -L "$log" ]; then
    aside=$(mktemp -u -d "$name")
    echo "$aside" >"$folder/$kept"
    mkdir -m 700 "$aside"
    mv -T "$log" "$aside/log"
fi
