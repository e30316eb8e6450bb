#!/bin/bash
# Stop what up.sh and swift.sh started, and remove the network devices that Neutron made meanwhile.
#   down.sh            stop everything; databases and images stay
#   down.sh NAME...    stop these services only, named as the files in pid/
#   down.sh --purge    stop everything, and delete state, configuration and logs
set -u
# shellcheck source=tests/openstack/cloud/env.sh
. "$(dirname "$(readlink -f "$0")")/env.sh"

stop() { # NAME [SECONDS UNTIL KILL]
    local name=$1 tries=$((${2:-10} * 10)) pid
    if alive "$name"; then
        read -r pid _ <"$OSM_PID/$name.pid"
        kill -TERM "$pid" 2>/dev/null
        while alive "$name" && [ $tries -gt 0 ]; do
            sleep 0.1
            tries=$((tries - 1))
        done
        kill -KILL -- "-$pid" 2>/dev/null # what is left of its session
        say "stopped $name ($pid)"
    fi
    rm -f "$OSM_PID/$name.pid"
}
stop_all() { # SECONDS NAME...: side by side
    local limit=$1 name
    shift
    for name; do stop "$name" "$limit" & done
    wait
}
if [ $# -gt 0 ] && [ "$1" != --purge ]; then
    for name; do stop "$name"; done
    exit
fi

# ---- first whoever could start something new, then the instances, as far as Nova named them
stop_all 5 nova-api nova-scheduler nova-compute swift-proxy swift-object swift-container swift-account
if alive libvirtd; then
    for uri in qemu:///system lxc:///; do
        for name in $(timeout 20 virsh -q -c $uri list --all --name 2>/dev/null | grep -E '^instance-[0-9a-f]{8}$'); do
            timeout 20 virsh -q -c $uri destroy "$name" >/dev/null 2>&1 && say "destroyed $name"
        done
    done
fi
# ---- the agents, and the helpers that outlive them (dnsmasq, haproxy): their pid files lie in Neutron's state
stop_all 5 neutron-l3 neutron-metadata neutron-dhcp neutron-linuxbridge
find "$OSM_STATE/neutron" -type f \( -name pid -o -name '*.pid' -o -path '*/external/pids/*' \) 2>/dev/null |
    while read -r file; do
        pid=$(tr -dc 0-9 <"$file")
        if [ -n "$pid" ] && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q "$OSM_STATE"; then
            kill "$pid" && say "stopped helper $pid"
        fi
        rm -f "$file"
    done
stop_all 5 neutron-server nova-conductor glance-api placement keystone libvirtd memcached
stop rabbitmq 20 &
stop mariadb 30 &
wait
stop epmd 2

# ---- devices, namespaces, rules
for name in $(ip netns list 2>/dev/null | awk '/^(qdhcp|qrouter)-/ {print $1}'); do ip netns delete "$name"; done
for bridge in $(ip -o link show type bridge 2>/dev/null | awk -F': ' '$2 ~ /^brq[0-9a-f]{8}-/ {print $2}'); do
    for port in "/sys/class/net/$bridge/brif"/tap*; do
        [ ! -e "$port" ] || ip link delete "${port##*/}" 2>/dev/null
    done
    ip link delete "$bridge"
done
ip link delete "$OSM_HOST_IF" 2>/dev/null
for tables in iptables ip6tables; do
    if $tables-save 2>/dev/null | grep -q neutron-; then $tables-save | grep -v neutron- | $tables-restore; fi
done
neutron_chains() { ebtables -t "$1" -L 2>/dev/null | awk '/^Bridge chain: neutron/ {sub(",", "", $3); print $3}'; }
for table in filter nat; do
    for chain in $(neutron_chains $table); do ebtables -t $table -F "$chain"; done
    for chain in PREROUTING FORWARD INPUT; do
        ebtables -t $table -L $chain 2>/dev/null | grep -E -- '-j neutron' | while read -r rule; do
            # shellcheck disable=SC2086 # a rule is words
            ebtables -t $table -D $chain $rule 2>/dev/null
        done
    done
    for chain in $(neutron_chains $table); do ebtables -t $table -X "$chain" 2>/dev/null; done
done
for name in $(ipset list -n 2>/dev/null | grep -E '^N?IPv[46]|^NET'); do ipset destroy "$name" 2>/dev/null; done

if [ "${1:-}" = --purge ]; then
    awk -v below="$OSM_STATE/" 'index($2, below) == 1 {print $2}' /proc/mounts | sort -r | while read -r place; do
        umount "$place"
    done
    rm -rf "$OSM_STATE" "$OSM_CONF" "$OSM_LOG" "$OSM_PID" "$OSM_ROOT/clouds.yaml" "$OSM_ROOT/openrc"
    rmdir "$OSM_ROOT" 2>/dev/null
    for name in qemu lxc; do
        [ ! -e /etc/libvirt/$name.conf.osm-saved ] || mv /etc/libvirt/$name.conf.osm-saved /etc/libvirt/$name.conf
    done
fi
say "the cloud is down"
