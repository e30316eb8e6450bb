#!/bin/bash
# A Swift with one replica for the cloud that up.sh brought up. down.sh stops it.
set -eu
# shellcheck source=tests/openstack/cloud/env.sh
. "$(dirname "$(readlink -f "$0")")/env.sh"
[ -s "$OSM_STATE/secrets" ] || die "there is no cloud in $OSM_ROOT: run up.sh first"
secrets
packages "$OSM_LOG/apt-swift.log" swift-proxy swift-account swift-container swift-object python3-swiftclient
conf=$OSM_CONF/swift
mkdir -p "$conf" "$OSM_STATE/swift/d1" "$OSM_STATE/swift/cache"
cat >"$conf/swift.conf" <<X
[swift-hash]
swift_hash_path_prefix = osm
swift_hash_path_suffix = ${OSM_PW_SERVICE:0:8}
[storage-policy:0]
name = one
default = yes
X
common() { # ADDRESS PORT
    cat <<X
[DEFAULT]
bind_ip = $1
bind_port = $2
workers = 0
user = root
swift_dir = $conf
devices = $OSM_STATE/swift
mount_check = false
log_level = WARNING
log_statsd_host =
disable_fallocate = true
X
}
make_ring() { # NAME PORT
    [ ! -f "$conf/$1.ring.gz" ] || return 0
    (
        cd "$conf"
        swift-ring-builder "$1.builder" create 6 1 1
        swift-ring-builder "$1.builder" add --region 1 --zone 1 --ip 127.0.0.1 --port "$2" --device d1 --weight 1
        swift-ring-builder "$1.builder" rebalance
    ) >"$OSM_LOG/swift-ring-$1.log" 2>&1
}
for server in account:6202 container:6201 object:6200; do
    name=${server%:*}
    {
        common 127.0.0.1 "${server#*:}"
        cat <<X
[pipeline:main]
pipeline = $name-server
[app:$name-server]
use = egg:swift#$name
recon_cache_path = $OSM_STATE/swift/cache
[$name-replicator]
X
    } >"$conf/$name-server.conf"
    make_ring "$name" "${server#*:}"
done
{
    common "$OSM_HOST_IP" 8080
    cat <<X
[pipeline:main]
pipeline = catch_errors healthcheck proxy-logging cache listing_formats bulk tempurl authtoken keystoneauth copy slo dlo versioned_writes symlink proxy-logging proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:11211
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:tempurl]
use = egg:swift#tempurl
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
[filter:symlink]
use = egg:swift#symlink
[filter:keystoneauth]
use = egg:swift#keystoneauth
operator_roles = admin, member
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
delay_auth_decision = true
service_type = object-store
www_authenticate_uri = http://$OSM_HOST_IP:5000/v3
auth_url = http://$OSM_HOST_IP:5000/v3
auth_type = password
username = service
password = $OSM_PW_SERVICE
project_name = service
user_domain_name = Default
project_domain_name = Default
memcached_servers = 127.0.0.1:11211
X
} >"$conf/proxy-server.conf"
chmod 600 "$conf"/*.conf
for name in account container object proxy; do
    start "swift-$name" "swift-$name-server" "$conf/$name-server.conf"
done
export OSM_NET OS_CLIENT_CONFIG_FILE=$OSM_ROOT/clouds.yaml
/usr/bin/python3 "$CLOUD_HOME/resources.py" swift
wait_for 20 swift curl -fsS "http://$OSM_HOST_IP:8080/healthcheck"
say "swift is up"
