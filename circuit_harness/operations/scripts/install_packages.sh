# Behind packages and apt.
: "${state?}" "${cache?}" "${marks?}"
mkdir -p "$state/accounts"
for file in /etc/passwd /etc/group /etc/shadow /etc/gshadow /etc/subuid /etc/subgid; do
    for each in "$file" "$file-"; do [ ! -e "$each" ] || cp -p "$each" "$state/accounts/"; done
done
[ -e "$marks" ] || : > "$state/unmarked"
note before
sync "$state"/*
: > "$state/noted"
trap finish EXIT
forbid_starts
apt install "$@" || fail
: > "$state/complete"
rm -rf "$cache"
trap - EXIT
finish
