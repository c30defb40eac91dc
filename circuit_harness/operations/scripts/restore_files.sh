# For root, behind put: restore files; set "kept" if somebody else has changed one since, which then stays. If "force"
# is set, such a file is restored, too.
kept=
is_theirs() { # file saved
    [ -e "$2.ours" ] && [ "$(sha256sum <"$1")" != "$(cat "$2.ours")" ] && [ -z "$force" ]
}
remove_file() { # file saved
    if [ -e "$1" ] && is_theirs "$1" "$2"; then
        kept=yes
        echo "$1, a file of this deployment, was changed since by somebody else, and is left as it is" \
            "(${by_force-replacing it} removes it)" >&2
    elif [ -e "$2.made" ]; then
        rm -f "$1" "$1.tutorial-new" && rm -f "$2.ours" "$2.made" || kept=yes
    fi
}
restore_file() { # file saved
    if is_theirs "$1" "$2"; then
        kept=yes
        echo "$1 was changed since by somebody else, and is left as it is: the saved one is $2," \
            "(${by_force-replacing it} puts it back)" >&2
    elif [ -e "$2" ]; then
        # From here on, the next attempt finishes this if it is interrupted.
        rm -f "$2.ours"
        if put "$2" "$1" "$2"; then
            rm -f "$2"
        else
            # shellcheck disable=SC2034
            kept=yes
            echo "$1 could not be put back: the saved one is $2" >&2
        fi
    fi
}
