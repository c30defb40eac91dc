: "${size:?}" "${user:?}" "${objects:?}" "${file:?}" "${check_file:?}" "${drop:?}"
# For root: make a database with its accounts, and load a schema. The input has four parts: the password of the checks'
# account, which goes into a file of its own, in a line; the password of the account that loads, in a line; the
# statements that make all this, in "size" bytes; and the schema. The shell itself reads the passwords, so that no command line
# contains one. "client" is the server's own client as root, and "load" the same with the account in the file $login,
# which can change only its own database. After that, everything in the database belongs to the deployment. This lists
# it, so that the take-down recognizes what others add.
umask 077
IFS= read -r password && printf %s "$password" >"$check_file" && IFS= read -r password || exit
dd bs="$size" count=1 iflag=fullblock status=none | client || exit
login=$(mktemp "$file.XXXXXXXX") || exit
trap 'rm -f "$login"' EXIT
printf '[client]\nuser=%s\npassword=%s\n' "$user" "$password" >"$login" || exit
load || exit
client -e "$drop; $objects" >"$file.new" && sync "$file.new" && mv "$file.new" "$file"
