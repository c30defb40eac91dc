# For root: "only_roots PATH..." ends with status 0 if only root can change or replace each file or folder;
# "as_user UID:GID COMMAND..." runs a command as this user and group; where it is called in subshells, "know_user
# UID:GID" looks the user up once for all of them.
only_roots() {
    paths=$(($# * 2)) further=$(readlink -f "$@") || return 1
    set -f
    before=$IFS IFS='
'
    # shellcheck disable=SC2086
    set -- "$@" $further
    IFS=$before
    set +f
    # A line end in a name makes more of them.
    [ $# = $paths ] || return 1
    begun=''
    for part; do
        case $part in /*) ;; *) return 1 ;; esac
        [ -n "$begun" ] || set --
        begun=yes
        while [ -n "$part" ]; do
            set -- "$@" "$part"
            part=${part%/*}
        done
    done
    # One mark for each part that is safe.
    safe=$(find "$@" -maxdepth 0 -uid 0 \( -type l -o ! -perm /022 -o -gid 0 ! -perm /002 -o -type d -perm -1000 \) \
        -printf x)
    [ ${#safe} = $# ]
}
whom=''
know_user() {
    [ "$1" != "$whom" ] || return 0
    whom=$1 groups=--clear-groups
    ! getent passwd "${whom%:*}" >/dev/null || groups=--init-groups
}
as_user() {
    know_user "$1"
    shift
    set -- env -i PATH="$PATH" HOME=/nonexistent "$@"
    [ "$whom" != 0:0 ] || { "$@"; return; }
    # Other processes of that user can read the command's environment, and control it.
    setpriv --reuid="${whom%:*}" --regid="${whom#*:}" "$groups" --no-new-privs --inh-caps=-all -- "$@"
}
