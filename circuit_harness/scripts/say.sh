# "say NAME VALUE" prints a fact as one line, even if a name that others chose has a line end in it.
say() { printf '%s %s\n' "$1" "$(printf '%s' "$2" | tr '\n' ' ')"; }
