: "${folder:?}" "${claim_s:?}" "${claim_bytes:?}"
# For root: lock a folder of root's for as long as the input is open. The lock is on the folder itself, which is removed
# when it is empty: a lock on a folder that was removed meanwhile excludes nobody. No child inherits the lock, because
# it would outlive a killed shell. An answer has as many bytes as a server needs to pass it on.
LC_ALL=C
export LC_ALL
answer() { printf "%-${claim_bytes}s" "$*"; }
holder() {
    # A shell that waits for a child with redirected files has moved its own files to other descriptors.
    for file in /proc/[0-9]*/fd/*; do
        [ "$file" -ef "$folder" ] && tr '\0' '\n' <"${file%/fd/*}/cmdline" | tail -n 1 && return
    done
    echo 'a run that has just ended'
}
tries=20
while [ $tries -gt 0 ]; do
    tries=$((tries - 1))
    said=$(mkdir -m 700 "$folder" 2>&1)
    command exec 9<"$folder" || continue
    flock -n 9
    case $? in
    0)
        [ "$folder" -ef /proc/self/fd/9 ] || continue
        answer locked
        timeout "$claim_s" head -c "$claim_bytes" 9<&- >/dev/null && cat 9<&- >/dev/null
        rmdir "$folder" 2>/dev/null
        exit
        ;;
    1)
        exec 9<&-
        answer "held $(holder)"
        exit
        ;;
    *) said="flock ended with status $?" ;;
    esac
done
answer "refused $said"
