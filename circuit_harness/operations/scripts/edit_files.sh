# For root, behind put. A file with a saved file's name is complete: on a full disk, no file gets that name.
note_ours() { # file saved
    sha256sum <"$1" >"$2.ours.new"
    [ -s "$2.ours.new" ]
    mv "$2.ours.new" "$2.ours"
}
make_file() { # file saved text: for "set -e"
    if [ -e "$1" ] || [ -L "$1" ]; then
        echo "$1 has come to be meanwhile" >&2
        exit 1
    fi
    : >"$2.made"
    (umask 022 && printf '%s\n' "$3" >"$2.next")
    put "$2.next" "$1" "$2.next"
    note_ours "$1" "$2"
}
edit_file() { # file saved sed's-script text-to-add: for "set -e"
    cp -p "$1" "$2.new"
    cmp -s "$1" "$2.new"
    sync "$2.new"
    mv "$2.new" "$2"
    sed "$3" "$2" >"$2.next"
    [ -z "$4" ] || printf '\n%s\n' "$4" >>"$2.next"
    put "$2.next" "$1" "$1"
    note_ours "$1" "$2"
}
