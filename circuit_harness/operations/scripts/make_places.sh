: "${folder:?}"
# Behind packages: make what is written to. Folders above it are there.
: "${state?}" "${cache?}"
mkdir -p "$folder" "$cache/archives/partial" "$cache/lists/partial" "$cache/tmp"
chmod 700 "$folder"
mkdir -p "$state"
chmod 700 "$state"
chmod 1777 "$cache/tmp"
