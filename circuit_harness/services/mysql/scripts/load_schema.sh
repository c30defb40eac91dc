: "${user:?}" "${objects:?}" "${file:?}" "${drop:?}"
# For root: load the statements of the input, with an account that can change only its own database, and whose password
# is the first line of the input. "client" is the server's own client as root, and "load" the same with the account in
# the file $login. After that, everything in the database belongs to the deployment. This lists it, so that the
# take-down recognizes what others add.
umask 077
IFS= read -r password
login=$(mktemp "$file.XXXXXXXX") || exit
trap 'rm -f "$login"' EXIT
printf '[client]\nuser=%s\npassword=%s\n' "$user" "$password" >"$login" || exit
load || exit
client -e "$drop; $objects" >"$file.new" && sync "$file.new" && mv "$file.new" "$file"
