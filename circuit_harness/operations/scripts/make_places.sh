: "${folder:?}"
# Behind packages: make the folders that are written to. The folders above them exist.
: "${state?}" "${cache?}"
mkdir -p "$folder" "$cache/archives/partial" "$cache/lists/partial" "$cache/tmp"
chmod 700 "$folder"
mkdir -p "$state"
chmod 700 "$state"
chmod 1777 "$cache/tmp"
