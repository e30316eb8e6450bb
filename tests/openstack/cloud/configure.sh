# shellcheck shell=bash # the configuration of every service, sourced by up.sh
# Wants: env.sh, the secrets, $VIRT and $IMAGES_TYPE.
AUTH="http://$OSM_HOST_IP:5000/v3"
RABBIT="rabbit://openstack:$OSM_PW_RABBIT@127.0.0.1:5672/"
# utf8, and not utf8mb3: Debian's pymysql does not know the longer name.
db() { echo "mysql+pymysql://openstack:$OSM_PW_DB@127.0.0.1:3306/$1?charset=utf8"; }
# TYPE: of the service; by it the access rules of application credentials are read.
authtoken() { cat <<X
[keystone_authtoken]
service_type = $1
www_authenticate_uri = $AUTH
$(creds)
memcached_servers = 127.0.0.1:11211
service_token_roles = service
service_token_roles_required = true
X
}
creds() { cat <<X
auth_url = $AUTH
auth_type = password
username = service
password = $OSM_PW_SERVICE
project_name = service
user_domain_name = Default
project_domain_name = Default
region_name = RegionOne
X
}
put() { mkdir -p "$(dirname "$OSM_CONF/$1")"; ( umask 077; cat > "$OSM_CONF/$1" ); }

put keystone/keystone.conf <<X
[DEFAULT]
log_file = $OSM_LOG/keystone.log
[database]
connection = $(db keystone)
[token]
provider = fernet
expiration = 86400
[fernet_tokens]
key_repository = $OSM_STATE/keystone/fernet
[credential]
key_repository = $OSM_STATE/keystone/credential
[cache]
enabled = true
backend = dogpile.cache.pymemcache
memcache_servers = 127.0.0.1:11211
[oslo_middleware]
enable_proxy_headers_parsing = true
X

put placement/placement.conf <<X
[DEFAULT]
log_file = $OSM_LOG/placement.log
[api]
auth_strategy = keystone
[placement_database]
connection = $(db placement)
$(authtoken placement)
X

put glance/glance-api.conf <<X
[DEFAULT]
log_file = $OSM_LOG/glance-api.log
bind_host = $OSM_HOST_IP
bind_port = 9292
workers = 1
enabled_backends = local:file
lock_path = $OSM_STATE/lock
[database]
connection = $(db glance)
[glance_store]
default_backend = local
[local]
filesystem_store_datadir = $OSM_STATE/glance/images
[os_glance_staging_store]
filesystem_store_datadir = $OSM_STATE/glance/staging
[os_glance_tasks_store]
filesystem_store_datadir = $OSM_STATE/glance/tasks
[paste_deploy]
flavor = keystone
config_file = /etc/glance/glance-api-paste.ini
[oslo_concurrency]
lock_path = $OSM_STATE/lock
$(authtoken image)
X

put nova/nova.conf <<X
[DEFAULT]
host = $OSM_NODE
my_ip = 127.0.0.1
state_path = $OSM_STATE/nova
instances_path = $OSM_STATE/nova/instances
transport_url = $RABBIT
compute_driver = libvirt.LibvirtDriver
enabled_apis = osapi_compute,metadata
osapi_compute_listen = $OSM_HOST_IP
osapi_compute_workers = 1
metadata_listen = 127.0.0.1
metadata_workers = 1
cpu_allocation_ratio = 32.0
ram_allocation_ratio = 2.0
disk_allocation_ratio = 20.0
reserved_host_memory_mb = 512
reserved_host_disk_mb = 0
# What changes is told at once; the periodic rounds only cost time.
heal_instance_info_cache_interval = 300
sync_power_state_interval = 300
update_resources_interval = 60
force_config_drive = false
# a guest that does not answer a request to end is switched off soon, not after a minute
shutdown_timeout = 3
default_log_levels = amqp=WARN,amqplib=WARN,sqlalchemy=WARN,oslo.messaging=INFO,oslo_messaging=INFO,iso8601=WARN,requests.packages.urllib3.connectionpool=WARN,urllib3.connectionpool=WARN,websocket=WARN,keystonemiddleware=WARN,stevedore=WARN
[api]
auth_strategy = keystone
[conductor]
workers = 1
[scheduler]
workers = 1
[wsgi]
api_paste_config = /etc/nova/api-paste.ini
[oslo_concurrency]
lock_path = $OSM_STATE/lock
[workarounds]
disable_rootwrap = true
[nova_sys_admin]
helper_command = privsep-helper --config-file $OSM_CONF/nova/nova.conf
[vif_plug_linux_bridge_privileged]
helper_command = privsep-helper --config-file $OSM_CONF/nova/nova.conf
[vif_plug_ovs_privileged]
helper_command = privsep-helper --config-file $OSM_CONF/nova/nova.conf
[privsep_osbrick]
helper_command = privsep-helper --config-file $OSM_CONF/nova/nova.conf
[libvirt]
virt_type = $VIRT
cpu_mode = none
images_type = $IMAGES_TYPE
hw_machine_type = x86_64=pc
use_virtio_for_bridges = true
inject_partition = -2
# small guests have no balloon driver
mem_stats_period_seconds = 0
[vnc]
enabled = false
[spice]
enabled = false
[glance]
api_servers = http://$OSM_HOST_IP:9292
[neutron]
service_metadata_proxy = true
metadata_proxy_shared_secret = $OSM_PW_METADATA
$(creds)
[placement]
$(creds)
[service_user]
send_service_user_token = true
$(creds)
$(authtoken compute)
X

# Apart, because nova-compute does not start when its configuration names a database.
put nova/db.conf <<X
[api_database]
connection = $(db nova_api)
[database]
connection = $(db nova)
max_pool_size = 5
X

put neutron/neutron.conf <<X
[DEFAULT]
host = $OSM_NODE
state_path = $OSM_STATE/neutron
transport_url = $RABBIT
auth_strategy = keystone
core_plugin = ml2
service_plugins = router
bind_host = $OSM_HOST_IP
api_workers = 0
rpc_workers = 1
rpc_state_report_workers = 0
api_paste_config = /etc/neutron/api-paste.ini
allow_overlapping_ips = true
dhcp_agents_per_network = 1
notify_nova_on_port_status_changes = true
notify_nova_on_port_data_changes = true
global_physnet_mtu = 1500
agent_down_time = 75
[agent]
root_helper = env
report_interval = 30
[experimental]
linuxbridge = true
[database]
connection = $(db neutron)
max_pool_size = 5
[nova]
$(creds)
[placement]
$(creds)
[oslo_concurrency]
lock_path = $OSM_STATE/lock
[quotas]
quota_port = -1
quota_network = -1
quota_subnet = -1
quota_security_group = -1
quota_security_group_rule = -1
quota_router = -1
quota_floatingip = -1
$(authtoken network)
X
put neutron/ml2_conf.ini <<X
[ml2]
type_drivers = flat,local
tenant_network_types = local
mechanism_drivers = linuxbridge
extension_drivers = port_security
[ml2_type_flat]
flat_networks = provider
[securitygroup]
enable_ipset = true
X
put neutron/linuxbridge_agent.ini <<X
[linux_bridge]
physical_interface_mappings = provider:$OSM_PROV_IF
[vxlan]
enable_vxlan = false
[securitygroup]
firewall_driver = iptables
enable_security_group = true
enable_ipset = true
[agent]
polling_interval = 1
X
put neutron/dhcp_agent.ini <<X
[DEFAULT]
interface_driver = linuxbridge
dhcp_driver = neutron.agent.linux.dhcp.Dnsmasq
enable_isolated_metadata = true
force_metadata = true
metadata_proxy_socket = $OSM_STATE/neutron/metadata_proxy
metadata_proxy_user = root
metadata_proxy_group = root
X
put neutron/l3_agent.ini <<X
[DEFAULT]
interface_driver = linuxbridge
metadata_proxy_socket = $OSM_STATE/neutron/metadata_proxy
metadata_proxy_user = root
metadata_proxy_group = root
X
put neutron/metadata_agent.ini <<X
[DEFAULT]
nova_metadata_host = 127.0.0.1
nova_metadata_port = 8775
metadata_proxy_shared_secret = $OSM_PW_METADATA
metadata_proxy_socket = $OSM_STATE/neutron/metadata_proxy
metadata_workers = 0
X
put rabbit/rabbitmq.conf <<X
listeners.tcp.1 = 127.0.0.1:5672
default_user = openstack
default_pass = $OSM_PW_RABBIT
loopback_users.openstack = true
X
put libvirt/libvirtd.conf <<X
listen_tls = 0
listen_tcp = 0
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_group = "root"
unix_sock_rw_perms = "0770"
log_outputs = "3:stderr"
X
# libvirt reads these two from /etc only. The packaged ones consist of comments; down.sh --purge puts them back.
for name in qemu lxc; do
  if [ -e /etc/libvirt/$name.conf ] && [ ! -e /etc/libvirt/$name.conf.osm-saved ]; then
    cp -p /etc/libvirt/$name.conf /etc/libvirt/$name.conf.osm-saved
  fi
done
# Everything runs as root on a machine that exists for this: no changes of owner, no namespaces, no logging daemon.
cat > /etc/libvirt/qemu.conf <<'X'
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
stdio_handler = "file"
cgroup_controllers = []
X
echo 'security_driver = "none"' > /etc/libvirt/lxc.conf
