: "${name:?}" "${owner:?}" "${folders?}" "${output:?}" "${socket:?}" "${limit_s:?}" "${path:?}"
# For root, behind guard and processes: "start_server COMMAND..." starts a server that no service manager starts.
start_server() {
    [ -z "$(processes)" ] || exit 0
    cd / || exit
    uid=${owner%%:*} gid=${owner#*:}
    printf '%s\n' "$folders" | while read -r folder; do
        [ -z "$folder" ] || [ -d "$folder" ] || install -d -m 755 -o "$uid" -g "$gid" "$folder" || exit
    done || exit
    if [ ! -e "$output" ] && only_roots "${output%/*}" && [ ! -k "${output%/*}" ]; then : >>"$output"; fi
    # If another user than root could replace the output by a link, the server opens it itself.
    if only_roots "$output"; then
        theirs=/dev/null
    elif [ "$uid" = 0 ]; then
        theirs=/dev/null output=/dev/null
    else
        theirs=$output output=/dev/null
    fi
    if getent passwd "$uid" >/dev/null; then groups=--init-groups; else groups=--clear-groups; fi
    # shellcheck disable=SC2016
    [ "$theirs" = /dev/null ] || set -- sh -c \
        'if [ -f "$0" ] && (: >>"$0"); then exec "$@" >>"$0" 2>&1; else exec "$@" >/dev/null 2>&1; fi' "$theirs" "$@"
    # The server's environment must not affect root's own programs.
    setsid env -i PATH="$path" setpriv --reuid="$uid" --regid="$gid" $groups -- "$@" </dev/null >>"$output" 2>&1 &
    pid=$! tries=0
    until awk -v path="$socket" '$NF == path { found = 1 } END { exit !found }' /proc/net/unix; do
        if [ ! -e /proc/$pid/exe ]; then
            wait $pid
            s=$?
            # A server that is configured to become a daemon leaves another process behind.
            [ $s = 0 ] && [ -n "$(processes)" ] && exit 0
            echo "$name ended with exit status $s while it started" >&2
            exit 1
        fi
        if [ $tries -ge $((limit_s * 20)) ]; then
            echo "$name (process $pid) does not listen on $socket after $limit_s s" >&2
            exit 1
        fi
        sleep 0.05
        tries=$((tries + 1))
    done
}
