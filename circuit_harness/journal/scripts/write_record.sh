: "${folder:?}" "${path:?}" "${run:?}" "${size:?}" "${another_s:?}"
# For root: write the first bytes of the input as the record, in place of an older one of the same run. Readers get one
# of the two, complete. The bytes are counted, because the death of the writer looks like the end of the input.
[ ! -e "$path" ] || grep -q "\"run\": \"$run\"" "$path" || exit "$another_s"
umask 077
{ [ -d "$folder" ] || mkdir -p "$folder"; } && dd of="$path.new" bs="$size" count=1 iflag=fullblock status=none &&
    [ "$(wc -c <"$path.new")" -eq "$size" ] && sync "$path.new" && mv "$path.new" "$path"
