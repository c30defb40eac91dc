: "${name:?}" "${limit_s:?}"
# For root, behind processes: stop a server without a service manager. Process ids are separate words.
# shellcheck disable=SC2086
pids=$(processes)
[ -n "$pids" ] || exit 0
# shellcheck disable=SC2086
kill -TERM $pids
tries=0
while left=$(processes) && [ -n "$left" ]; do
    if [ $tries -ge $((limit_s * 20)) ]; then
        # shellcheck disable=SC2086
        echo "$name (process" $pids") was asked to end, and process" $left "runs after $limit_s s" >&2
        exit 1
    fi
    sleep 0.05
    tries=$((tries + 1))
done
