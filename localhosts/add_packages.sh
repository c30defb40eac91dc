#!/bin/sh
# Install packages above a tree: add_packages.sh FOLDER TREE NETWORK PACKAGE...; their changes are in FOLDER/upper then.
#
# apt runs outside of the tree, where it reaches the archives, and runs dpkg in the tree. No package starts a service,
# neither during the installation nor at the boot of a host: ports stay free, and a deployment starts what it needs.
set -eu
place=$1 tree=$2 network=$3
root=$place/root
shift 3
# Relative names from here on, because the cache folder's path may have a character that is special to mount.
cd "$place"
mkdir tree upper work root
mount --bind "$tree" tree
mount -t overlay overlay -o lowerdir=tree,upperdir=upper,workdir=work,metacopy=off,redirect_dir=off root
mount -t proc proc root/proc
export LC_ALL=C DEBIAN_FRONTEND=noninteractive APT_CONFIG="$place/apt.conf"
cat >"$APT_CONFIG" <<EOF
Dir "$root";
DPkg::Chroot-Directory "$root";
DPkg::Use-Pty "false";
APT::Sandbox::User "root";
EOF
printf '#!/bin/sh\nexit 101\n' >root/usr/sbin/policy-rc.d
chmod 755 root/usr/sbin/policy-rc.d
nsenter --net="$network" -- apt-get -qq update >/dev/null
nsenter --net="$network" -- apt-get -qq -y --no-install-recommends install "$@" >/dev/null
rm root/usr/sbin/policy-rc.d
for script in upper/etc/init.d/*; do
    [ ! -e "$script" ] || chroot root update-rc.d "${script##*/}" disable >/dev/null
done
umount root/proc root
[ ! -d upper/etc/systemd/system ] || find upper/etc/systemd/system -path '*.wants/*' -type l -delete
rm -rf upper/var/lib/apt/lists upper/var/cache/apt upper/run upper/tmp
# The marks of files that were removed from the tree, because not every file system can store such a mark.
find upper -type c -delete
