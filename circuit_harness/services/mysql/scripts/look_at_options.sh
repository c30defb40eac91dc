: "${as_it_runs:?}"
# For root, behind say, guard, rest_of_line and ask_server. `program` is the server's, and `server` the id of its
# process, if it runs: then this uses the arguments that it was started with. If it is `watched`, mysqld_safe has passed
# on arguments of `starter`, among others that repeat lines of the option files. `user` is the user that the server runs
# as. `value NAME` prints an option's value. A process of that user prints which files the server reads; so root reads,
# and changes, only files that only root can write.
: "${server?}" "${starter?}" "${program?}" "${watched?}" "${user?}" "${line_end?}"
option_lines=''
if [ -n "$server" ]; then
    option_lines=$(xargs -0 -a "/proc/$starter/cmdline" sh -c "$as_it_runs" sh "$program" "$watched" "$user")
elif [ -n "$program" ]; then
    option_lines=$(options "$program")
fi
[ -z "$option_lines" ] || printf '%s\n' "$option_lines"
value() { rest_of_line "option $1 " "$option_lines"; }
shown=' ' found_files=''
# A folder that does not exist yet is safe.
roots_folder() { [ ! -d "$1" ] || { only_roots "$1" && [ ! -k "$1" ]; } || say unsafe "$1"; }
show() { # file [plain: only root's, and without includes]
    case $shown in *" $1 "*) return ;; esac
    [ -f "$1" ] || return
    shown="$shown$1 "
    [ -n "${2-}" ] || case $1 in *.cnf|*.ini) only_roots "$1" ;; *) false ;; esac || { say unsafe "$1"; return; }
    found_files=$found_files$1$line_end
    [ -s "$1" ] || say empty "$1"
    [ -z "${2-}" ] || return
    # shellcheck disable=SC2013
    for include in $(sed -n 's/^[ \t]*!include\(dir\)\?[ \t]\+\([^ \t\r]*\).*/\1:\2/p' "$1"); do
        case $include in
            dir:*)
                include=${include#dir:} include=${include%/}
                set -- "$include"/*.cnf
                # One look at all together: most often, none is unsafe or includes others.
                if [ -f "$1" ] && [ ! -k "$include" ] && only_roots "$include" "$@" && ! grep -qs '!include' "$@"; then
                    for inner; do show "$inner" plain; done
                else
                    roots_folder "$include"
                    for inner; do show "$inner"; done
                fi
                ;;
            *) show "${include#:}" ;;
        esac
    done
}
for root in $(printf '%s\n' "$option_lines" | sed -n 's/^roots //p'); do show "$root"; done
# No name has a line end in it: such files are not only root's.
(
    set -f
    IFS=$line_end
    # shellcheck disable=SC2086
    [ -z "$found_files" ] || LC_ALL=C awk 'FNR == 1 { print "file", FILENAME; n++ } { print "line", n, $0 }' $found_files
)
# Other processes of that user can write into its output: no other facts come from there.
# shellcheck disable=SC2016
[ -z "$found_files" ] || printf %s "$found_files" | as_user "$user" sh -c '
    while IFS= read -r file; do [ -r "$file" ] || printf "unreadable %s\n" "$file"; done' | grep -a '^unreadable '
