: "${log:?}" "${folder:?}" "${kept:?}" "${uid:?}"
# For root. A file that others have put into the log's place since stays. If this is interrupted and runs again, it does
# what is left to do.
[ -d "$folder" ] || exit 0
[ "$(stat -c %u "$log" 2>/dev/null)" != "$uid" ] || rm -rf "$log" || exit
aside=$(cat "$folder/$kept" 2>/dev/null)
if [ -n "$aside" ] && [ -d "$aside" ] && [ ! -L "$aside" ] && [ -O "$aside" ]; then
    if [ -e "$aside/log" ] || [ -L "$aside/log" ]; then mv -nT "$aside/log" "$log"; fi
    rmdir "$aside" 2>/dev/null || {
        echo "$log was made by somebody else since; the one that was there is $aside/log: move either" >&2
        exit 1
    }
fi
rm -rf "$folder"
