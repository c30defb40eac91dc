# For root: the same for the sockets of process $server, if there is one; the first word is "own".
: "${server?}"
if [ -n "$server" ]; then
    inodes=$(find "/proc/$server/fd" -lname 'socket:*' -printf '%l ' 2>/dev/null | tr -dc '0-9 ')
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v own="$inodes" '
        BEGIN { n = split(own, inodes, " "); for (i = 1; i <= n; i++) is_own[inodes[i]] }
        $4 == "0A" && $10 in is_own { print "own", $2 }'
fi
