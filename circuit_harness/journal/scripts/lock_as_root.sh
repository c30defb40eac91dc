: "${claim_bytes:?}"
# Execute root's part, which is the first argument, or hold without a lock. With sudo in between, the process that holds
# the lock is not the element's, and must end with it.
if [ "$(id -u)" = 0 ]; then exec /bin/sh -c "$1" "$0"; fi
if sudo -n true 2>/dev/null; then exec sudo -n setpriv --pdeathsig KILL /bin/sh -c "$1" "$0"; fi
printf "%-${claim_bytes}s" powerless
