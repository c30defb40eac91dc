: "${log:?}" "${folder:?}" "${name:?}" "${kept:?}"
# For root and "set -e": set aside the file in the log's place, to be restored. This renames it within its own folder,
# into one of root's: a rename follows no link and opens no file, whatever others put there meanwhile. The new place is
# recorded first.
if [ -e "$log" ] || [ -L "$log" ]; then
    aside=$(mktemp -u -d "$name")
    echo "$aside" >"$folder/$kept"
    mkdir -m 700 "$aside"
    mv -T "$log" "$aside/log"
fi
