: "${program:?}" "${datadir:?}" "${users?}"
# "processes" prints the ids of the server's processes. A server that was upgraded since its start runs a deleted
# program. The users are compared, because any user can run the program in that folder, and stop it so that it does not
# end; older versions recorded no users.
processes() {
    for process in /proc/[0-9]*; do
        [ "$process/cwd" -ef "$datadir" ] || continue
        if [ -n "$users" ]; then
            case " $users " in *" $(awk '/^Uid:/ { print $3 }' "$process/status" 2>/dev/null) "*) ;; *) continue ;; esac
        fi
        [ "$process/exe" -ef "$program" ] || [ "$(readlink "$process/exe")" = "$program (deleted)" ] || continue
        echo "${process#/proc/}"
    done
}
