# The host's addresses are read from the kernel's routing, because not every host has iproute2.
awk '$1 == "|--" { a = $2 } $1 == "/32" && $2 == "host" && $3 == "LOCAL" { print "own", a }' /proc/net/fib_trie
awk '{ gsub(/..../, "&:", $1); sub(/:$/, "", $1); print "own", $1 }' /proc/net/if_inet6 2>/dev/null
