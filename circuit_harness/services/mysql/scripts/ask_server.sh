: "${names:?}"
# Behind guard. What a server would start with, asked of the server itself: its own help tells its files and groups and,
# behind "Variables", the options in effect; it changes nothing, and takes less than 0.1 s. A home that is not there, since
# root's files are not the server's. It is asked with its own user's rights, whatever its files or its words have it load.
#
# Of the words that it was started with, its user may have written some that could have any program loaded: only these are
# passed on.
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
    as_user "$user" env -i PATH="$PATH" HOME=/nonexistent timeout 10 "$@" --verbose --help
}
options() { # program word...
    help=$(ask "$@" 2>/dev/null) || say error "$(ask "$@" 2>&1 >/dev/null | awk '
        /ERROR/ { error = $0 } { last = $0 } END { print error ? error : last }')"
    printf '%s\n' "$help" | awk -v names=" $names " '
        /^Default options are read from/ { getline; print "roots", $0 }
        /^The following groups are read: / { sub(/^[^:]*: */, ""); print "groups", $0 }
        /^Variables / { values = 1 }
        values && index(names, " " $1 " ") { name = $1; sub(/^[^ ]+ */, ""); print "option", name, $0 }
    '
}
