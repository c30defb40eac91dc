# Behind ask_server: PROGRAM WATCHED USER, and the words of a process, the first of which is its name. mysqld_safe gives
# a watched server additional arguments, which repeat lines of the option files.
# shellcheck disable=SC2034
program=$1 watched=$2 user=$3
shift 4
[ $# = 0 ] || first=yes
for word; do
    [ -z "$first" ] || set --
    first=''
    [ -z "$watched" ] || is_passed_on "$word" || continue
    set -- "$@" "$word"
done
[ $# = 0 ] || say arguments "$(printf '%s\0' "$@" | base64 -w0)"
options "$program" "$@"
