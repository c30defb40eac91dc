# "say NAME VALUE" prints a fact as one line, even if a name that others chose has a line end in it.
say() {
    case $2 in
    *'
'*) printf '%s %s\n' "$1" "$(printf '%s' "$2" | tr '\n' ' ')" ;;
    *) printf '%s %s\n' "$1" "$2" ;;
    esac
}
