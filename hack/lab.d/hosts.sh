# shellcheck shell=bash
# Hosts: systemd-nspawn machines, each kept by one supervisor process (lab.d/supervisor).

MACHINE_NAME='^host-[1-9][0-9]*$'

supervisor_record() { echo "$(host_dir "$1")/supervisor"; }
start_time() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; } # PID

# The supervisor wrote its pid and start time: a pid that was taken by another process since is not ours.
host_running() { # HOST
  local pid started
  [[ -f $(supervisor_record "$1") ]] || return 1
  read -r pid started <"$(supervisor_record "$1")"
  [[ -n ${started:-} && $(start_time "$pid") == "$started" ]]
}

running_hosts() {
  local host
  for host in $(hosts); do if host_running "$host"; then echo "$host"; fi; done
}

make_host() { # HOST
  local host=$1 directory upper
  directory=$(host_dir "$host")
  [[ -f $directory/complete ]] && return
  rm -rf --one-file-system "$directory"
  upper=$directory/upper
  mkdir -p "$upper/etc/cni/net.d" "$directory"/{work,kubelet,etcd,volumes}
  copy_seed "$directory/containerd"
  make_host_key "$host" "$upper"
  echo "$host" >"$upper/etc/hostname"
  write_cni_config "$host" "$upper/etc/cni/net.d/10-lab.conflist"
  write_hosts_file "$upper/etc/hosts"
  touch "$directory/complete"
}

write_hosts_file() { # FILE
  local number
  echo '127.0.0.1 localhost' >"$1"
  for ((number = 1; number <= MAX_HOSTS; number++)); do echo "$(host_address host-$number) host-$number"; done >>"$1"
}

# ipMasq: a pod leaves its host with the host's address, so nothing outside needs to know of pods.
# hairpinMode: a pod can reach itself through its own Service.
write_cni_config() { # HOST FILE
  jq -n --arg subnet "$(host_pod_cidr "$1")" '{cniVersion: "1.0.0", name: "lab", plugins: [
    {type: "bridge", bridge: "cni0", isDefaultGateway: true, hairpinMode: true, ipMasq: true, ipMasqBackend: "nftables",
     ipam: {type: "host-local", ranges: [[{subnet: $subnet}]]}},
    {type: "portmap", capabilities: {portMappings: true}, backend: "nftables"}]}' >"$2"
}

start_host() { # HOST
  local host=$1
  host_running "$host" && return
  # What is left of a host that was killed: processes, cables, cgroups. Its disk is kept, as after a power cut.
  clear_host "$host"
  plug_host "$host"
  make_cgroups "$host"
  setsid unshare --mount --propagation slave "$HACK/lab.d/supervisor" "$host" \
    "$(node_layer):$(rootfs)" "$(host_dir "$host")" "$(host_netns "$host")" \
    </dev/null >>"$(host_dir "$host")/console.log" 2>&1 9>&- &
  retry 10 host_running "$host"
}

answers_ssh() { on_host "$1" true; }
wait_for_host() { # HOST
  retry 60 answers_ssh "$1"
}

# clear_host HOST: ends every process of the host and takes its cables and cgroups away.
clear_host() {
  local host=$1 pid deadline=$((SECONDS + 20))
  if host_running "$host"; then
    read -r pid _ <"$(supervisor_record "$host")"
    kill -KILL "$pid" 2>/dev/null || true
  fi
  rm -f "$(supervisor_record "$host")"
  # The cgroup is ours alone, so whatever is in it is ours. PID 1 of the host takes its pods with it.
  while pids=$(cgroup_processes "$host") && [[ -n $pids ]]; do
    ((SECONDS < deadline)) || { echo "processes of $host do not end: $(tr '\n' ' ' <<<"$pids")"; return 1; }
    # shellcheck disable=SC2086 # a list of pids
    kill -KILL $pids 2>/dev/null || true
    sleep 0.1
  done
  remove_cgroups "$host"
  unplug_host "$host"
}

delete_host() { # HOST
  clear_host "$1"
  rm -rf --one-file-system "$(host_dir "$1")"
}

# Hosts that left a trace outside of their directory too, so that `down` also ends what a lost state directory hides.
known_hosts_of_lab() {
  local hierarchy
  { hosts
    ip netns list | awk '{ print $1 }' | sed -n 's/^lab-\(host-[0-9]*\)$/\1/p'
    while read -r hierarchy; do
      find "$hierarchy" -mindepth 1 -maxdepth 1 -type d -name 'lab-host-*' -printf '%f\n' | sed 's/^lab-//'
    done < <(cgroup_hierarchies); } | sort -uV
}
