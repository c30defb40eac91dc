# For root: "only_roots PATH" ends with status 0 if only root can change or replace the file or folder;
# "as_user UID:GID COMMAND..." runs a command as this user and group.
only_roots() {
    case $1 in /*) ;; *) return 1 ;; esac
    for part in "$1" "$(readlink -f "$1")"; do
        while [ -n "$part" ]; do
            [ -n "$(find "$part" -maxdepth 0 -uid 0 \( -type l -o ! -perm /022 -o -gid 0 ! -perm /002 \
                -o -type d -perm -1000 \))" ] || return 1
            part=${part%/*}
        done
    done
}
as_user() {
    whom=$1
    shift
    [ "$whom" != "$(id -u):$(id -g)" ] || { "$@"; return; }
    if getent passwd "${whom%:*}" >/dev/null; then groups=--init-groups; else groups=--clear-groups; fi
    # Other processes of that user can read the command's environment, and control it.
    setpriv --reuid="${whom%:*}" --regid="${whom#*:}" $groups --no-new-privs --inh-caps=-all -- \
        env -i PATH="$PATH" HOME=/nonexistent "$@"
}
