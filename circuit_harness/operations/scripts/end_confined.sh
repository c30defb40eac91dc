: "${uid:?}" "${folder:?}" "${starting:?}" "${become:?}" "${perl:?}" "${python:?}" "${tries_to_end:?}"
# For root, behind find_nobody: end a program, TERM and 5 s later KILL, and all that is left of its user. "become" holds
# the words that a command of the user's begins with; neither these nor numbers of processes are to be quoted.
# shellcheck disable=SC2086
pid=$(dd if="$folder/run/pid" bs=16 count=1 iflag=nofollow,nonblock status=none 2>/dev/null)
case $pid in '' | *[!0-9]*) pid=0 ;; esac
# Whatever it calls itself by now: nobody but the program has this user.
runs() { [ "$(stat -c %u "/proc/$pid" 2>/dev/null)" = "$uid" ]; }
runs && kill -TERM "$pid"
tries=0
while runs && [ $tries -lt "$tries_to_end" ]; do
    sleep 0.1
    tries=$((tries + 1))
done
strays() {
    for process in /proc/[0-9]*; do
        if grep -qs "^Uid:.*[[:space:]]${uid}[[:space:]]" "$process/status"; then
            echo "${process#/proc/}"
        elif [ "$(readlink "$process/cwd")" = "$folder" ] &&
            tr '\0' ' ' 2>/dev/null <"$process/cmdline" | grep -qF "$starting"; then
            echo "${process#/proc/}"
        fi
    done
}
# Not before: what another run takes for its app's user meanwhile is not to be hit.
find_nobody
: "${nobody:?}"
# All at once: those that fork and end are others, or none at all, by the time that they have been listed. And by what
# they cannot kill first.
everyone() {
    ! command -v perl >/dev/null || perl -e "$perl" "$nobody" "$uid" 2>/dev/null
    ! command -v python3 >/dev/null || python3 -I -c "$python" "$nobody" "$uid" 2>/dev/null
    # shellcheck disable=SC2086
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
    sleep 0.1
    tries=$((tries + 1))
done
[ -z "$left" ] || {
    # shellcheck disable=SC2086
    echo "process" $left "of $folder does not end" >&2
    exit 1
}
# Memory that processes share, semaphores and queues outlive them.
find /dev/shm -mindepth 1 -maxdepth 1 -uid "$uid" -delete 2>/dev/null
for kind in shm:8 sem:5 msg:8; do
    awk -v uid="$uid" -v column="${kind#*:}" '$column == uid { print $2 }' "/proc/sysvipc/${kind%:*}" 2>/dev/null |
        while read -r id; do
            case $kind in shm:*) ipcrm -m "$id" ;; sem:*) ipcrm -s "$id" ;; *) ipcrm -q "$id" ;; esac
        done
done
