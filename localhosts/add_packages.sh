#!/bin/sh
# Installs packages above a tree: add_packages.sh FOLDER TREE NETWORK PACKAGE...; what they change is in FOLDER/upper then.
#
# apt runs outside, where it reaches the archives, and has dpkg run in the root. No package starts anything while it is
# installed, nor at the boot of a host: ports stay free, and what is deployed starts what it needs.
set -eu
place=$1 tree=$2 network=$3
root=$place/root
shift 3
# By names from here on: a cache folder's own may have a sign that means something to mount.
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
# What stood in the tree and was removed: such a mark cannot be copied everywhere.
find upper -type c -delete
