: "${folder:?}" "${path:?}" "${run:?}" "${size:?}" "${another_s:?}"
# For root: the first bytes of the input become the record, in place of an older one of the same run. Readers get one or
# the other, whole: a writer that is killed looks like the end of its input, so the bytes are counted.
[ ! -e "$path" ] || grep -q "\"run\": \"$run\"" "$path" || exit "$another_s"
umask 077
mkdir -p "$folder" && dd of="$path.new" bs="$size" count=1 iflag=fullblock status=none &&
    [ "$(wc -c <"$path.new")" -eq "$size" ] && sync "$path.new" && mv "$path.new" "$path"
