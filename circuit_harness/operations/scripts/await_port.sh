: "${hex:?}" "${tries:?}"
# Wait until a socket listens on a port, or for about a second: sooner known than by one command after the other.
until grep -Eqs ":$hex [0-9A-F]+:[0-9A-F]+ 0A " /proc/net/tcp /proc/net/tcp6 || [ "$tries" -le 0 ]; do
    tries=$((tries - 1))
    sleep 0.01
done
