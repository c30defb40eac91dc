: "${size:?}" "${user:?}" "${objects:?}" "${file:?}" "${check_file:?}" "${drop:?}"
# For root: make accounts and a database by the first statements of the input, which are that many bytes, and load the
# rest of it, with an account that can change only its own database. Two lines precede all that: the passwords of the
# checks' account, which goes into a file of its own, and of the one that loads. The shell itself reads them, so that no
# command line contains one. "client" is the server's own client as root, and "load" the same with the account in the
# file $login. After that, everything in the database belongs to the deployment. This lists it, so that the take-down
# recognizes what others add.
umask 077
IFS= read -r password && printf %s "$password" >"$check_file" && IFS= read -r password || exit
dd bs="$size" count=1 iflag=fullblock status=none | client || exit
login=$(mktemp "$file.XXXXXXXX") || exit
trap 'rm -f "$login"' EXIT
printf '[client]\nuser=%s\npassword=%s\n' "$user" "$password" >"$login" || exit
load || exit
client -e "$drop; $objects" >"$file.new" && sync "$file.new" && mv "$file.new" "$file"
