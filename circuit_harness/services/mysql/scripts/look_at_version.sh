# For root, behind say, guard and the look at the service.
: "${program?}" "${user?}"
[ -z "$program" ] || say about "$(as_user "$user" env -i "$program" --no-defaults --version)"
