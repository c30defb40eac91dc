: "${port:?}" "${hex:?}"
# Print a complaint if a process listens on a TCP port, else nothing.
awk -v port="$port" -v at=":$hex\$" '
    $4 == "0A" && $2 ~ at { print "port " port " is still listened on, perhaps by another program: ss -ltnp shows which"; exit }
' /proc/net/tcp /proc/net/tcp6 2>/dev/null
