: "${port:?}" "${hex:?}"
# A complaint where a TCP port is listened on, and nothing where it is not.
awk -v port="$port" -v at=":$hex\$" '
    $4 == "0A" && $2 ~ at { print "port " port " is still listened on"; exit }
' /proc/net/tcp /proc/net/tcp6 2>/dev/null
