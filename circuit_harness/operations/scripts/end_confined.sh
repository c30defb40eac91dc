: "${uid:?}" "${folder:?}" "${starting:?}" "${become:?}" "${perl:?}" "${python:?}" "${tries_to_end:?}"
# For root, behind find_nobody: end a program, by TERM and 5 s later KILL, and all other processes of its user. "become"
# has the words that run a command as the user; neither these nor process ids may be quoted.
# shellcheck disable=SC2086
pid=$(dd if="$folder/run/pid" bs=16 count=1 iflag=nofollow,nonblock status=none 2>/dev/null)
case $pid in '' | *[!0-9]*) pid=0 ;; esac
# The process's name does not matter, because only the program has this user.
runs() { [ "$(stat -c %u "/proc/$pid" 2>/dev/null)" = "$uid" ]; }
runs && kill -TERM "$pid"
tries=0
while runs && [ $tries -lt "$tries_to_end" ]; do
    sleep 0.02
    tries=$((tries + 1))
done
strays() {
    {
        grep -ls "^Uid:.*[[:space:]]${uid}[[:space:]]" /proc/[0-9]*/status
        # shellcheck disable=SC2044
        for cwd in $(find /proc/[0-9]*/cwd -maxdepth 0 -lname "$folder" 2>/dev/null); do
            ! tr '\0' ' ' 2>/dev/null <"${cwd%/cwd}/cmdline" | grep -qF "$starting" || echo "$cwd"
        done
    } | cut -d / -f 3 | sort -u
}
# Not earlier, because another run may take the number for its app's user meanwhile, and its processes must not be hit.
find_nobody
: "${nobody:?}"
# Kill all with one call: a list of processes that fork and end is outdated when it is complete. The killer runs as a
# user whom they cannot kill first; on a host with neither Perl nor Python it is a shell of their own user.
everyone() {
    # shellcheck disable=SC2086
    perl -e "$perl" "$nobody" "$uid" 2>/dev/null || python3 -I -c "$python" "$nobody" "$uid" 2>/dev/null ||
        $become /bin/sh -c 'kill -KILL -1' 2>/dev/null
}
everyone
tries=0
while
    left=$(strays)
    [ -n "$left" ] && [ $tries -lt "$tries_to_end" ]
do
    # shellcheck disable=SC2086
    kill -KILL $left 2>/dev/null
    everyone
    sleep 0.02
    tries=$((tries + 1))
done
[ -z "$left" ] || {
    # shellcheck disable=SC2086
    echo "process" $left "of $folder does not end" >&2
    exit 1
}
# Shared memory, semaphores and queues outlive their processes.
find /dev/shm -mindepth 1 -maxdepth 1 -uid "$uid" -delete 2>/dev/null
for kind in shm:8 sem:5 msg:8; do
    awk -v uid="$uid" -v column="${kind#*:}" '$column == uid { print $2 }' "/proc/sysvipc/${kind%:*}" 2>/dev/null |
        while read -r id; do
            case $kind in shm:*) ipcrm -m "$id" ;; sem:*) ipcrm -s "$id" ;; *) ipcrm -q "$id" ;; esac
        done
done
