# shellcheck shell=bash
# One key pair for the lab, one pinned host key for each host.

make_client_key() {
  [[ -f $STATE/ssh/id_ed25519 ]] && return
  mkdir -p "$STATE/ssh"
  ssh-keygen -q -t ed25519 -N '' -C kube-on-kube-lab -f "$STATE/ssh/id_ed25519"
}

# make_host_key HOST ROOT: the host is known before it first answers.
make_host_key() {
  local host=$1 root=$2
  install -d "$root/etc/ssh"
  install -d -m 0700 "$root/root/.ssh"
  ssh-keygen -q -t ed25519 -N '' -C "$host" -f "$root/etc/ssh/ssh_host_ed25519_key"
  install -m 0600 "$STATE/ssh/id_ed25519.pub" "$root/root/.ssh/authorized_keys"
}

write_ssh_config() {
  local host
  for host in $(hosts); do
    echo "$host,$(host_address "$host") $(cut -d' ' -f1,2 "$(host_dir "$host")/upper/etc/ssh/ssh_host_ed25519_key.pub")"
  done >"$STATE/ssh/known_hosts"
  for host in $(hosts); do
    printf 'Host %s\n  HostName %s\n' "$host" "$(host_address "$host")"
  done >"$STATE/ssh/config"
  cat >>"$STATE/ssh/config" <<END
Host *
  User root
  IdentityFile $STATE/ssh/id_ed25519
  IdentitiesOnly yes
  UserKnownHostsFile $STATE/ssh/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  HashKnownHosts no
  ConnectTimeout 10
  LogLevel ERROR
END
}

on_host() { # HOST COMMAND...
  local host=$1
  shift
  ssh -F "$STATE/ssh/config" "$host" "$@"
}
