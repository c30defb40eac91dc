# For root, behind say, guard and the look at the options: these begin with the version, unless the server refuses them.
: "${program?}" "${user?}" "${option_lines?}"
case $option_lines in
about\ *) ;;
*) [ -z "$program" ] || say about "$(as_user "$user" "$program" --no-defaults --version)" ;;
esac
