: "${names:?}"
# Behind guard. Print the options with which a server would start, from the server itself: its help prints its version,
# its files and groups and, behind "Variables", the options in effect. The help changes nothing, and takes less than 0.1 s. HOME does
# not exist, because root's option files are not the server's. The help runs with the rights of the server's user,
# because option files and arguments can make the server load code.
#
# The server's user may have written some of its arguments, which could make it load any program. Only these are passed
# on:
: "${user?}"
is_passed_on() {
    case $1 in
    --no-defaults | --defaults-file=* | --defaults-extra-file=* | --defaults-group-suffix=*) ;;
    --bind?address=* | --port=* | --socket=* | --pid?file=* | --datadir=*) ;;
    --skip?networking* | --mysqlx* | --loose?mysqlx* | --skip?name?resolve*) ;;
    --skip?slave?start* | --skip?replica?start* | --wsrep?on* | -[hP]?*) ;;
    *) return 1 ;;
    esac
}
is_passed_on_with_next() {
    case $1 in
    --bind?address | --port | --socket | --pid?file | --datadir | --mysqlx?bind?address | -[hP]) ;;
    *) return 1 ;;
    esac
}
ask() { # program word...
    first=yes next=''
    for word; do
        [ -z "$first" ] || { first='' && set -- "$word" && continue; }
        if [ -n "$next" ]; then
            next=''
        elif is_passed_on_with_next "$word"; then
            next=yes
        elif ! is_passed_on "$word"; then
            continue
        fi
        set -- "$@" "$word"
    done
    as_user "$user" timeout 10 "$@" --verbose --help
}
options() { # program word...
    help=$(ask "$@" 2>/dev/null) || say error "$(ask "$@" 2>&1 >/dev/null | awk '
        /ERROR/ { error = $0 } { last = $0 } END { print error ? error : last }')"
    printf '%s\n' "$help" | awk -v names=" $names " '
        NR == 1 && / Ver / { print "about", $0 }
        /^Default options are read from/ { getline; print "roots", $0 }
        /^The following groups are read: / { sub(/^[^:]*: */, ""); print "groups", $0 }
        /^Variables / { values = 1 }
        values && index(names, " " $1 " ") { name = $1; sub(/^[^ ]+ */, ""); print "option", name, $0 }
    '
}
