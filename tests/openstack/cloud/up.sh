#!/bin/bash
# Bring up OpenStack (Debian 12's packages, Zed) on one machine, without systemd. What already runs is left alone.
#   [VIRT=lxc|qemu] [OSM_ROOT=DIRECTORY] up.sh
set -eu
# shellcheck source=tests/openstack/cloud/env.sh
. "$(dirname "$(readlink -f "$0")")/env.sh"
[ "$(id -u)" = 0 ] || die "must be run as root"
mkdir -p "$OSM_STATE" "$OSM_CONF" "$OSM_LOG" "$OSM_PID"
VIRT=${VIRT:-$(cat "$OSM_VIRT_FILE" 2>/dev/null || echo lxc)}
# shellcheck disable=SC2034 # for configure.sh
case $VIRT in
qemu) IMAGES_TYPE=qcow2 ;;
lxc) IMAGES_TYPE=raw ;; # the kernel may have no nbd, which libvirt-lxc needs for anything else
*) die "VIRT is lxc or qemu, not $VIRT" ;;
esac
# Another cloud of this kind has the same addresses, devices and ports.
if ip link show "$OSM_HOST_IF" >/dev/null 2>&1 && [ ! -s "$OSM_PID/mariadb.pid" ]; then
    die "a cloud with another OSM_ROOT is up on this machine: take it down first"
fi

packages "$OSM_LOG/apt.log" keystone glance-api placement-api nova-api nova-conductor nova-scheduler nova-compute \
    neutron-server neutron-linuxbridge-agent neutron-dhcp-agent neutron-metadata-agent neutron-l3-agent \
    rabbitmq-server mariadb-server memcached libvirt-daemon-system libvirt-clients libvirt-daemon-driver-lxc \
    qemu-system-x86 qemu-utils genisoimage python3-openstackclient uwsgi-core uwsgi-plugin-python3 ebtables ipset \
    dnsmasq-base haproxy conntrack iproute2 curl procps sudo \
    mmdebstrap cpio kmod fdisk mtools dosfstools syslinux syslinux-common # what `rack image build` needs
secrets

# ---- the host's side of the provider network
ip link show "$OSM_HOST_IF" >/dev/null 2>&1 || ip link add "$OSM_HOST_IF" type veth peer name "$OSM_PROV_IF"
ip addr replace "$OSM_HOST_IP/24" dev "$OSM_HOST_IF"
ip link set "$OSM_HOST_IF" up
ip link set "$OSM_PROV_IF" up
sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1 || true

# shellcheck source=tests/openstack/cloud/configure.sh
. "$CLOUD_HOME/configure.sh"
mkdir -p "$OSM_STATE"/{lock,glance/images,glance/staging,glance/tasks,nova/instances,neutron,keystone/fernet} \
    "$OSM_STATE"/{keystone/credential,rabbit,run}
echo "$VIRT" >"$OSM_VIRT_FILE"

# ---- database, queue, cache
SOCKET=$OSM_STATE/run/mysqld.sock
if [ ! -d "$OSM_STATE/mysql/mysql" ]; then
    mariadb-install-db --no-defaults --user=root --datadir="$OSM_STATE/mysql" \
        --auth-root-authentication-method=socket --skip-test-db >"$OSM_LOG/mariadb-install.log" 2>&1
fi
# A cloud for tests may lose its last second in a power cut.
start mariadb mariadbd --no-defaults --user=root --datadir="$OSM_STATE/mysql" --socket="$SOCKET" \
    --pid-file="$OSM_STATE/run/mysqld.pid" --bind-address=127.0.0.1 --port=3306 --skip-log-bin --skip-name-resolve \
    --max-connections=400 --innodb-buffer-pool-size=128M --innodb-flush-log-at-trx-commit=0 \
    --innodb-doublewrite=0 --performance-schema=OFF \
    --character-set-server=utf8mb3 --collation-server=utf8mb3_general_ci
export HOME=/root
start epmd env ERL_EPMD_ADDRESS=127.0.0.1 epmd
wait_for 20 epmd tcp 127.0.0.1 4369
# Erlang's schedulers spin while they wait unless they are told not to.
start rabbitmq env HOME="$OSM_STATE/rabbit" ERL_EPMD_ADDRESS=127.0.0.1 \
    RABBITMQ_NODENAME=osm@localhost RABBITMQ_CONF_ENV_FILE=/dev/null \
    RABBITMQ_CONFIG_FILE="$OSM_CONF/rabbit/rabbitmq" RABBITMQ_ENABLED_PLUGINS_FILE="$OSM_CONF/rabbit/plugins" \
    RABBITMQ_MNESIA_BASE="$OSM_STATE/rabbit/mnesia" RABBITMQ_LOG_BASE="$OSM_LOG/rabbit" \
    RABBITMQ_PID_FILE="$OSM_STATE/run/rabbit.pid" RABBITMQ_DIST_PORT=25672 \
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}" \
    /usr/lib/rabbitmq/bin/rabbitmq-server
start memcached memcached -u root -l 127.0.0.1 -p 11211 -m 64
wait_for 60 mariadb tcp 127.0.0.1 3306
for name in keystone glance placement nova_api nova nova_cell0 neutron; do
    echo "CREATE DATABASE IF NOT EXISTS $name;"
    echo "GRANT ALL ON $name.* TO openstack@'127.0.0.1' IDENTIFIED BY '$OSM_PW_DB';"
done | mariadb --no-defaults --socket="$SOCKET" -uroot

# ---- tables, all services side by side
schema_keystone() {
    local manage="keystone-manage --config-file $OSM_CONF/keystone/keystone.conf"
    $manage db_sync && $manage fernet_setup --keystone-user root --keystone-group root &&
        $manage credential_setup --keystone-user root --keystone-group root &&
        $manage bootstrap --bootstrap-password "$OSM_PW_ADMIN" --bootstrap-region-id RegionOne \
            --bootstrap-admin-url "$AUTH/" --bootstrap-internal-url "$AUTH/" --bootstrap-public-url "$AUTH/"
}
schema_nova() {
    local manage="nova-manage --config-file $OSM_CONF/nova/nova.conf --config-file $OSM_CONF/nova/db.conf"
    $manage api_db sync || return
    $manage cell_v2 list_cells | grep -q cell0 ||
        $manage cell_v2 map_cell0 --database_connection "$(db nova_cell0)" || return
    $manage cell_v2 list_cells | grep -q cell1 || $manage cell_v2 create_cell --name cell1 || return
    $manage db sync
}
schema_neutron() {
    neutron-db-manage --config-file "$OSM_CONF/neutron/neutron.conf" \
        --config-file "$OSM_CONF/neutron/ml2_conf.ini" upgrade head
}
schema_glance() { glance-manage --config-file "$OSM_CONF/glance/glance-api.conf" db_sync; }
schema_placement() { placement-manage --config-file "$OSM_CONF/placement/placement.conf" db sync; }
if [ ! -e "$OSM_STATE/schema-done" ]; then
    say "making the tables"
    jobs=
    for name in keystone nova neutron glance placement; do
        "schema_$name" >"$OSM_LOG/schema-$name.log" 2>&1 &
        jobs="$jobs $!"
    done
    for job in $jobs; do wait "$job" || die "the tables could not be made, see $OSM_LOG/schema-*.log"; done
    touch "$OSM_STATE/schema-done"
    say "the tables are made"
fi

# ---- identity first, then the rest
UWSGI=(uwsgi --plugins python3 --master --enable-threads --lazy-apps --die-on-term --need-app
    --buffer-size 65535 --disable-logging --add-header Connection:close)
start keystone env OS_KEYSTONE_CONFIG_FILES="$OSM_CONF/keystone/keystone.conf" "${UWSGI[@]}" \
    --processes 2 --threads 1 --http-socket "$OSM_HOST_IP:5000" --wsgi-file /usr/bin/keystone-wsgi-public
start placement env OS_PLACEMENT_CONFIG_DIR="$OSM_CONF/placement" "${UWSGI[@]}" \
    --processes 1 --threads 4 --http-socket "$OSM_HOST_IP:8778" --wsgi-file /usr/bin/placement-api
wait_for 90 rabbitmq tcp 127.0.0.1 5672
wait_for 60 keystone curl -fsS "$AUTH"

cloud_entry() { # NAME USER PASSWORD PROJECT
    printf '  %s:\n    auth: {auth_url: "%s", username: %s, password: "%s", project_name: %s,\n' "$1" "$AUTH" "$2" "$3" "$4"
    printf '           user_domain_name: Default, project_domain_name: Default}\n'
    printf '    region_name: RegionOne\n    identity_api_version: 3\n'
}
(
    umask 077
    {
        echo clouds:
        cloud_entry mini-admin admin "$OSM_PW_ADMIN" admin
        cloud_entry mini demo "$OSM_PW_DEMO" demo
    } >"$OSM_ROOT/clouds.yaml"
)
cat >"$OSM_ROOT/openrc" <<X
# . $OSM_ROOT/openrc [mini|mini-admin]
export OS_CLIENT_CONFIG_FILE=$OSM_ROOT/clouds.yaml OS_CLOUD=\${1:-mini}
X
export OS_CLIENT_CONFIG_FILE=$OSM_ROOT/clouds.yaml OSM_NET

# On a host with both versions of cgroups libvirt's containers do not start: it wants a directory "unified" where nothing
# is mounted yet. So libvirtd gets a mount namespace without version 2, and nova-compute joins it, because it mounts the
# containers' root file systems for libvirtd.
alive libvirtd || new_libvirtd=1
# shellcheck disable=SC2016 # for the inner shell
start libvirtd unshare --mount --propagation private sh -c \
    'umount -l /sys/fs/cgroup/unified 2>/dev/null; exec libvirtd -f "$1"' libvirtd "$OSM_CONF/libvirt/libvirtd.conf"
nova=(--config-file "$OSM_CONF/nova/nova.conf")
nova_db=("${nova[@]}" --config-file "$OSM_CONF/nova/db.conf")
start_neutron() { # NAME PROGRAM CONFIGURATION
    start "$1" env PATH="$CLOUD_HOME/bin:$PATH" "$2" --config-file "$OSM_CONF/neutron/neutron.conf" \
        --config-file "$OSM_CONF/neutron/$3" --log-file "$OSM_LOG/$1.log"
}
start_neutron neutron-server neutron-server ml2_conf.ini
start glance-api glance-api --config-file "$OSM_CONF/glance/glance-api.conf"
if [ ! -e "$OSM_STATE/catalog-done" ]; then
    export OSM_PW_DEMO OSM_PW_SERVICE
    /usr/bin/python3 "$CLOUD_HOME/resources.py" catalog
    touch "$OSM_STATE/catalog-done"
    say "users and catalogue are made"
fi
for name in conductor api scheduler; do
    start nova-$name nova-$name "${nova_db[@]}" --log-file "$OSM_LOG/nova-$name.log"
done
wait_for 90 neutron-server tcp "$OSM_HOST_IP" 9696
start_neutron neutron-linuxbridge neutron-linuxbridge-agent linuxbridge_agent.ini
start_neutron neutron-dhcp neutron-dhcp-agent dhcp_agent.ini
start_neutron neutron-metadata neutron-metadata-agent metadata_agent.ini
start_neutron neutron-l3 neutron-l3-agent l3_agent.ini
wait_for 30 libvirtd test -S /run/libvirt/libvirt-sock
if [ -n "${new_libvirtd:-}" ] && alive nova-compute; then "$CLOUD_HOME/down.sh" nova-compute; fi
start nova-compute nsenter --mount --target "$(cut -d' ' -f1 "$OSM_PID/libvirtd.pid")" \
    nova-compute "${nova[@]}" --log-file "$OSM_LOG/nova-compute.log"
wait_for 90 nova-api tcp "$OSM_HOST_IP" 8774
wait_for 60 glance-api tcp "$OSM_HOST_IP" 9292
/usr/bin/python3 "$CLOUD_HOME/resources.py" resources
# The host must have registered itself before it can be put into the cell.
OSM_STARTED="${STARTED:-}" OSM_SINCE=$(($(date +%s) - SECONDS)) /usr/bin/python3 "$CLOUD_HOME/resources.py" wait
if [ ! -e "$OSM_STATE/host-mapped" ]; then
    nova-manage "${nova_db[@]}" cell_v2 discover_hosts >"$OSM_LOG/discover.log" 2>&1
    touch "$OSM_STATE/host-mapped"
fi
say "the cloud is up (VIRT=$VIRT); . $OSM_ROOT/openrc"
