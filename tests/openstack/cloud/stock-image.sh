#!/bin/bash
# Make what a cloud offers before anybody has prepared it: Debian with cloud-init and without RackActor, as the root
# file system of an LXC instance. A whole systemd wants cgroups of its own there, so the stages of cloud-init, and only
# those, are run by a few lines of shell.
set -eu
image=${1:?where the image goes}
packages=busybox-static,ca-certificates,cloud-init,iproute2,isc-dhcp-client,python3-venv
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mmdebstrap --quiet --variant=minbase --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' bookworm "$root"
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root/etc/resolv.conf"
cat >"$root/etc/cloud/cloud.cfg.d/99-stock.cfg" <<'X'
datasource_list: [OpenStack, None]
network: {config: disabled}
# what asks for systemd, a package mirror or a disk is left out
cloud_init_modules: [seed_random, set_hostname, users-groups]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts-user, final-message]
X
rm -f "$root/sbin/init"
cat >"$root/sbin/init" <<'X'
#!/bin/sh
trap 'exit 0' TERM INT PWR
for place in /run /dev/shm; do
    mountpoint -q $place || { mkdir -p $place && mount -t tmpfs tmpfs $place; }
done
ip link set lo up
dhclient -1 -q "$(ls /sys/class/net | grep -m 1 '^e')"
for stage in 'init --local' init 'modules --mode config' 'modules --mode final'; do
    cloud-init $stage &
    wait $!
done
while :; do
    sleep 3600 &
    wait $!
done
X
printf '#!/bin/sh\nkill -TERM 1\n' >"$root/sbin/poweroff"
chmod 755 "$root/sbin/init" "$root/sbin/poweroff"
mkdir -p "$(dirname "$image")"
rm -f "$image.new"
# Nova makes it as large as the flavor's disk
mke2fs -q -t ext4 -O ^has_journal -m 0 -d "$root" "$image.new" "$(($(du -sm "$root" | cut -f1) * 17 / 16 + 32))M"
mv "$image.new" "$image"
