: "${user:?}" "${objects:?}" "${file:?}" "${drop:?}"
# For root: load the statements of the input, by an account that can change its own database and nothing else, whose
# password is the first line of the input. "client" is the server's own, as root, and "load" the same as in the file $login.
# What is in the database then is the deployment's; the list of it tells it from what others add.
umask 077
IFS= read -r password
login=$(mktemp "$file.XXXXXXXX") || exit
trap 'rm -f "$login"' EXIT
printf '[client]\nuser=%s\npassword=%s\n' "$user" "$password" >"$login" || exit
load || exit
client -e "$drop" && client -e "$objects" >"$file.new" && sync "$file.new" && mv "$file.new" "$file"
