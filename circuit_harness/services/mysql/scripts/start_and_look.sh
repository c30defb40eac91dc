: "${socket:?}"
# For root, behind look_again and "start", which starts the server. A server answers before its service manager has
# finished the start, so it is asked during the start. This prints its answer, or nothing.
ask_meanwhile() {
    started=''
    trap 'started=yes' USR1
    until [ -S "$socket" ] && answer=$(look_again 2>/dev/null); do
        [ -z "$started" ] || return
        sleep 0.02
    done
    printf '%s\n' "$answer"
}
ask_meanwhile &
asker=$!
start >&2 || {
    s=$?
    kill $asker
    exit $s
}
kill -s USR1 $asker 2>/dev/null
wait $asker
exit 0
