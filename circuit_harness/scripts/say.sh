# say NAME VALUE prints a fact. It stays one line, whatever line end a name that others chose may have in it.
say() { printf '%s %s\n' "$1" "$(printf '%s' "$2" | tr '\n' ' ')"; }
