# shellcheck shell=bash disable=SC2034 # settings of the one-machine cloud, sourced by its scripts
CLOUD_HOME=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
# Everything that the scripts make lies here, but for packages, network devices and two files in /etc/libvirt.
export OSM_ROOT=${OSM_ROOT:-/var/lib/rackactor-openstack}
OSM_STATE=$OSM_ROOT/state # databases, images, instances, locks
OSM_CONF=$OSM_ROOT/conf
OSM_LOG=$OSM_ROOT/log
OSM_PID=$OSM_ROOT/pid
OSM_VIRT_FILE=$OSM_STATE/virt # qemu | lxc: the choice of the last up.sh
# The APIs listen at the host's end of the provider network: one catalogue serves the host and the instances.
OSM_NET=${OSM_NET:-10.77.0}
OSM_HOST_IP=$OSM_NET.1
OSM_HOST_IF=osm-host # a veth; its peer belongs to Neutron's agent
OSM_PROV_IF=osm-prov
OSM_NODE=node1
# Debian's services run on Debian's Python, whatever this shell was started with.
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
export PYTHONDONTWRITEBYTECODE=1
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY
umask 022

SECONDS=0
say() { printf '[%3d s] %s\n' "$SECONDS" "$*"; }
die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# A pid file holds the number and the time of the start, so that a number that is used again is nobody of ours.
start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }
alive() { # NAME
    local pid began
    [ -f "$OSM_PID/$1.pid" ] && read -r pid began <"$OSM_PID/$1.pid" || return 1
    # one that only waits for its parent to notice is dead
    [ -n "$pid" ] && [ "$(start_time "$pid")" = "$began" ] && ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null
}
start() { # NAME COMMAND...
    local name=$1 pid
    shift
    if alive "$name"; then return 0; fi
    # a session of its own, so that its helpers can be ended with it
    setsid "$@" >>"$OSM_LOG/$name.out" 2>&1 </dev/null &
    pid=$!
    echo "$pid $(start_time $pid)" >"$OSM_PID/$name.pid"
    STARTED="${STARTED:-} $name "
    say "started $name ($pid)"
}
wait_for() { # SECONDS WHAT COMMAND...
    local tries=$(($1 * 5)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || die "no sign of $what; logs are in $OSM_LOG"
        sleep 0.2
    done
}
tcp() { (exec 3<>"/dev/tcp/$1/$2"); }
packages() { # LOG PACKAGE...: install what is missing; none of them may start a service of its own
    local log=$1 name missing=
    shift
    for name; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing="$missing $name"
    done
    [ -n "$missing" ] || return 0
    say "installing:$missing"
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update >"$log" 2>&1 || true
    # shellcheck disable=SC2086 # words
    apt-get -y -o Dpkg::Options::=--force-confold -o DPkg::Lock::Timeout=600 \
        install --no-install-recommends $missing >>"$log" 2>&1 || die "apt-get failed, see $log"
    [ -z "$(trap -p EXIT)" ] || rm -f /usr/sbin/policy-rc.d
    trap - EXIT
    say "packages are installed"
}
# The passwords of this cloud, made once.
secrets() {
    if [ ! -s "$OSM_STATE/secrets" ]; then
        (
            umask 077
            for name in DB RABBIT ADMIN DEMO SERVICE METADATA; do
                echo "OSM_PW_$name=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')"
            done >"$OSM_STATE/secrets"
        )
    fi
    # shellcheck disable=SC1091
    . "$OSM_STATE/secrets"
}
