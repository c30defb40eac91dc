# apt-get waits for dpkg's lock by itself. Its output goes into a file, so that it continues even if nobody reads it;
# its errors are printed.
: "${cache?}" "${state?}" "${lock_limit_s?}"
apt() {
    TMPDIR=$cache/tmp apt-get -q -y --no-install-recommends --no-remove -o DPkg::Lock::Timeout="$lock_limit_s" \
        -o Dir::Cache="$cache" -o Dir::State::lists="$(cat "$cache/use")" -o Acquire::Retries=2 \
        -o APT::Get::AutomaticRemove=false -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef \
        -o Dpkg::Options::=--force-confold "$@" >> "$state/log" 2>&1 < /dev/null 9>&-
}
fail() {
    reasons=$(grep -a -e '^[EW]: ' -e '^dpkg: error' -e '^ [^ ]' "$state/log" | tail -n 12)
    reasons=${reasons:-$(tail -n 3 "$state/log")}
    printf '%s\n' "${reasons:-apt-get failed, and $state/log has nothing of why: is the disk full?}" >&2
    exit 1
}
[ -d "$state" ] && exec 9> "$state/lock" && flock -w "$lock_limit_s" 9 && [ ! -e "$state/undone" ] || {
    echo 'it is being undone already' >&2
    exit 1
}
: > "$state/log"
