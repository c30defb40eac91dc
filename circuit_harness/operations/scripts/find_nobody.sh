: "${first_uid:?}" "${uids:?}"
# "find_nobody" sets "nobody" to a number that no account, group or process has.
find_nobody() {
    nobody=$((first_uid + $(od -An -N4 -tu4 /dev/urandom) % uids))
    while getent passwd $nobody >/dev/null || getent group $nobody >/dev/null ||
        grep -qs "^Uid:.*[^0-9]${nobody}[^0-9]" /proc/[0-9]*/status; do
        nobody=$((nobody + 1))
    done
}
