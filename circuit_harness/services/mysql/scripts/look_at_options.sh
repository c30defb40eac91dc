: "${as_it_runs:?}"
# For root, behind say, guard and ask_server. `program` is the server's, and `server` the number of its process, if it
# runs: then it is asked with what it was started with. Where it is `watched`, that is what was passed on of `starter`'s
# words, among others that repeat what stands in the files. `user` is whom it runs as. `value NAME` prints an option's
# value. Which files it reads is told by what runs as that user: root reads, and changes, only those that are root's
# alone to write.
: "${server?}" "${starter?}" "${program?}" "${watched?}" "${user?}"
told=''
if [ -n "$server" ]; then
    told=$(xargs -0 -a "/proc/$starter/cmdline" sh -c "$as_it_runs" sh "$program" "$watched" "$user")
elif [ -n "$program" ]; then
    told=$(options "$program")
fi
[ -z "$told" ] || printf '%s\n' "$told"
value() { printf '%s\n' "$told" | sed -n "s/^option $1 *//p"; }
shown=' '
# One that is yet to be made is nobody's.
roots_folder() { [ ! -d "$1" ] || { only_roots "$1" && [ ! -k "$1" ]; } || say unsafe "$1"; }
show() {
    case $shown in *" $1 "*) return ;; esac
    [ -f "$1" ] || return
    shown="$shown$1 "
    case $1 in *.cnf|*.ini) only_roots "$1" ;; *) false ;; esac || { say unsafe "$1"; return; }
    as_user "$user" test -r "$1" || say unreadable "$1"
    say file "$1 $(base64 -w0 "$1")"
    # shellcheck disable=SC2013
    for include in $(sed -n 's/^[ \t]*!include\(dir\)\?[ \t]\+\([^ \t\r]*\).*/\1:\2/p' "$1"); do
        case $include in
            dir:*)
                include=${include#dir:}
                roots_folder "${include%/}"
                for inner in "${include%/}"/*.cnf; do show "$inner"; done
                ;;
            *) show "${include#:}" ;;
        esac
    done
}
for root in $(printf '%s\n' "$told" | sed -n 's/^roots //p'); do show "$root"; done
