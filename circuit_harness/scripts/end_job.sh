# End a command and all its descendants, whatever user they run as. This finds them by the random mark in their command
# line or environment, or by descent from such a process; sudo clears the environment, but its own is still marked. It
# stops all of them before it kills any, so that none can fork away. It reads the mark from standard input, so that it
# does not find itself.
read -r mark
family() {
    # shellcheck disable=SC2062
    marked=$(printf '%s' "$mark" | grep -laFsf - /proc/[0-9]*/cmdline /proc/[0-9]*/environ | cut -d/ -f3)
    [ -n "$marked" ] || return 0
    grep -s '^PPid:' /proc/[0-9]*/status | tr ':' '/' | awk -F'[/\t ]+' -v marked="$marked" '
        BEGIN { n = split(marked, pids, /[ \n]+/); for (i = 1; i <= n; i++) found[pids[i]] = 1 }
        { parent[$3] = $NF }
        END {
            do { grew = 0; for (p in parent) if (!(p in found) && parent[p] in found) { found[p] = 1; grew = 1 } }
            while (grew)
            for (p in found) if (p in parent) printf "%s ", p
        }'
}
round=0
while [ $round -lt 20 ]; do
    round=$((round + 1))
    pids=$(family)
    [ -n "$pids" ] || exit 0
    # Process ids, with blanks between.
    # shellcheck disable=SC2086
    kill -STOP $pids 2>/dev/null
    again=$(family)
    # shellcheck disable=SC2086
    [ "$again" = "$pids" ] || { kill -STOP $again 2>/dev/null; again=$(family); }
    # shellcheck disable=SC2086
    kill -KILL $again 2>/dev/null
done
exit 1
