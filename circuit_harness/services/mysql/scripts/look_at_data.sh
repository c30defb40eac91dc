: "${database:?}" "${options:?}" "${query:?}" "${rows:?}" "${limit_s:?}"
# For root, behind the looks at the service, its options and its places: print which databases and accounts exist. A
# server that an attacker controls can answer anything. Its rows are filtered, because others would look like facts that
# root has found, such as option files to write and folders to make.
: "${datadir?}" "${server?}" "${user?}"
[ ! -d "$datadir/$database" ] || say database "$database"
client=''
for name in mariadb mysql; do
    command -v $name >/dev/null && client=$name && say client $name && break
done
# The client's options are separate words.
# shellcheck disable=SC2086
sql() { timeout "$limit_s" $client $options --socket="$socket" -e "$1" 2>/dev/null; }
# Without its socket, a server cannot be asked.
socket=$(value socket)
if [ -n "$client" ] && { [ -z "$socket" ] || [ -S "$socket" ]; }; then
    # shellcheck disable=SC2086
    if found=$(timeout "$limit_s" $client $options --socket="$socket" -e "$query" 2>&1); then
        printf '%s\n' "$found" | grep -aE "$rows"
        look_at_replication
    elif [ $? = 124 ]; then
        say hangs yes
    else
        say refusal "$(printf '%s' "$found" | tail -n 1)"
    fi
fi
# MySQL stores there the options that were persisted while it ran.
persisted=$datadir/mysqld-auto.cnf
if [ -z "$server" ] && [ -e "$persisted" ] && as_user "$user" grep -qs group_replication_group_name "$persisted"; then
    say replication 'is a member of group replication'
fi
