: "${uid:?}" "${signal:?}"
# For root: send a signal to all processes of a user; status 1 where there is none.
processes=$(grep -ls "^Uid:[[:space:]]*${uid}[[:space:]]" /proc/[0-9]*/status | cut -d / -f 3)
[ -n "$processes" ] || { echo "no process of user $uid runs" >&2; exit 1; }
# Process ids contain no blanks.
# shellcheck disable=SC2086
kill -s "$signal" $processes || exit
# sudo stops together with the program that it has started, and must continue with it; not earlier, or it stops again.
[ "$signal" != CONT ] || for process in $processes; do
    kill -s CONT "$(awk '/^PPid:/ { print $2 }' "/proc/$process/status")"
done
