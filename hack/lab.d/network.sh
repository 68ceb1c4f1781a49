# shellcheck shell=bash
# The lab's network: a bridge in its own namespace, a cable from it to the root namespace (10.77.0.1) and one to
# each host. Nothing else of the root namespace changes: no route, no rule, no forwarding.

plug_switch() {
  ip netns list | grep -qw "$SWITCH" && ip link show "$ROOT_LINK" >/dev/null 2>&1 && return
  unplug_switch
  ip netns add "$SWITCH"
  # Bridged frames shall not pass this kernel's packet filters.
  ip netns exec "$SWITCH" sh -c 'for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e "$f" ] || echo 0 >"$f"; done'
  ip -n "$SWITCH" link add bridge type bridge
  ip -n "$SWITCH" link set bridge up
  ip link add "$ROOT_LINK" type veth peer name root netns "$SWITCH"
  ip -n "$SWITCH" link set root master bridge up
  ip address add "$ROOT_ADDRESS/24" dev "$ROOT_LINK"
  ip link set "$ROOT_LINK" up
}

unplug_switch() {
  ! ip link show "$ROOT_LINK" >/dev/null 2>&1 || ip link del "$ROOT_LINK"
  ! ip netns list | grep -qw "$SWITCH" || ip netns del "$SWITCH"
}

plug_host() { # HOST
  local host=$1 netns number other
  netns=$(host_netns "$host")
  unplug_host "$host"
  ip netns add "$netns"
  ip -n "$netns" link set lo up
  ip -n "$netns" link add eth0 type veth peer name "$host" netns "$SWITCH"
  ip -n "$SWITCH" link set "$host" master bridge up
  ip -n "$netns" address add "$(host_address "$host")/24" dev eth0
  ip -n "$netns" link set eth0 up
  ip -n "$netns" route add default via "$ROOT_ADDRESS"
  # The pods of any other host are behind it, whether it exists yet or not.
  for ((number = 1; number <= MAX_HOSTS; number++)); do
    other=host-$number
    [[ $other == "$host" ]] || echo "route add $(host_pod_cidr $other) via $(host_address $other)"
  done | ip -n "$netns" -batch -
  # Forwarding is for pods. What a pod sends to a Service may be answered by a pod on the same bridge:
  # the answer has to pass conntrack to be translated back.
  ip netns exec "$netns" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; for f in iptables ip6tables; do
    [ ! -e "/proc/sys/net/bridge/bridge-nf-call-$f" ] || echo 1 >"/proc/sys/net/bridge/bridge-nf-call-$f"; done'
}

unplug_host() { # HOST
  ! ip -n "$SWITCH" link show "$1" >/dev/null 2>&1 || ip -n "$SWITCH" link del "$1"
  ! ip netns list | grep -qw "$(host_netns "$1")" || ip netns del "$(host_netns "$1")"
}
