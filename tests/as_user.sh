#!/bin/sh
# Runs a command as an ordinary user with password-less sudo: ./run test-rights calls it, as root.
#
# The machine stays as it is. The user is known in a mount namespace alone, where /etc and the project's folder have a
# layer on top that goes with it; host images are shared with root's cache.
set -eu

NAME=circuit-tests

[ "$(id -u)" -eq 0 ] || { echo "as_user.sh: only root can run a command as another user" >&2; exit 1; }
[ "${1-}" = --inside ] || exec unshare --mount --propagation private sh "$0" --inside "$@"
shift
root=$(pwd)

die() {
    echo "as_user.sh: $*" >&2
    exit 1
}

layers=0
cover() { # folder: whatever is written there from now on goes with this namespace
    layers=$((layers + 1))
    mkdir "$folder/upper$layers" "$folder/work$layers"
    chmod --reference="$1" "$folder/upper$layers"
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$folder/upper$layers,workdir=$folder/work$layers" "$1" ||
        die "the kernel or this container refuses an overlay over $1, so that no user can be made for the tests of rights"
}

# A folder that every system has, and that is in nobody's way in this namespace.
for folder in /mnt /media /srv; do
    case $root/ in "$folder"/*) ;; *) break ;; esac
done
mount -t tmpfs -o mode=755 tmpfs "$folder" ||
    die "the kernel or this container refuses a tmpfs, so that no user can be made for the tests of rights"
# In a container these are mounts of their own, which a layer would hide.
for name in hosts resolv.conf hostname; do
    [ ! -e "/etc/$name" ] || cp "/etc/$name" "$folder/$name"
done
cover /etc
for name in hosts resolv.conf hostname; do
    [ ! -e "$folder/$name" ] || { rm -f "/etc/$name" && mv "$folder/$name" "/etc/$name"; }
done
id=20000
while getent passwd "$id" >/dev/null || getent group "$id" >/dev/null; do id=$((id + 1)); done
home=$folder/home
echo "$NAME:x:$id:$id::$home:/bin/sh" >>/etc/passwd
echo "$NAME:x:$id:" >>/etc/group
echo "$NAME:*:19000:0:99999:7:::" >>/etc/shadow
echo "$NAME ALL=(ALL:ALL) NOPASSWD: ALL" >/etc/sudoers.d/$NAME
chmod 440 /etc/sudoers.d/$NAME

# The cache's folder is the user's own, the images in it root's: they are made, and locked, by root in either case.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/circuit-harness
mkdir -p "$cache/images" "$home/.cache/circuit-harness/images" "$folder/tmp"
for bundle in "$cache"/app-*.tar.gz; do
    [ ! -e "$bundle" ] || cp "$bundle" "$home/.cache/circuit-harness/"
done
chown -R "$id:$id" "$home" "$folder/tmp"
mount --bind "$cache/images" "$home/.cache/circuit-harness/images"

# The user gets to Python and to the project's folder, and can write there.
open_way() { # path
    parent=$(dirname "$1")
    [ "$parent" = / ] || open_way "$parent"
    if ! setpriv --reuid="$id" --regid="$id" --clear-groups test -x "$1"; then
        cover "$1"
        chmod o+x "$1"
    fi
}
python=$(readlink -f .venv/bin/python)
open_way "$(dirname "$python")"
open_way "$root"
cover "$root"
cd "$root"
find . -path ./.venv -prune -o -type d -exec chown "$id:$id" {} +

exec setpriv --reuid="$id" --regid="$id" --init-groups \
    env -u XDG_CACHE_HOME -u XDG_RUNTIME_DIR -u SUDO_USER -u SUDO_UID -u SUDO_GID \
    HOME="$home" USER="$NAME" LOGNAME="$NAME" SHELL=/bin/sh TMPDIR="$folder/tmp" PYTHONDONTWRITEBYTECODE=1 "$@"
