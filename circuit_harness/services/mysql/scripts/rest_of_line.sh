# "rest_of_line START TEXT" prints the rest of the first line of a text that starts so; nothing where no line does.
line_end='
'
rest_of_line() {
    case $line_end$2 in *"$line_end$1"*) ;; *) return ;; esac
    rest=$line_end$2
    rest=${rest#*"$line_end$1"}
    printf '%s\n' "${rest%%"$line_end"*}"
}
