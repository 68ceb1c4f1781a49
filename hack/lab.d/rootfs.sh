# shellcheck shell=bash
# What a lab host is made of, from the bottom: a debootstrapped Debian tree, then the node layer (containerd,
# kubelet, units, settings). Both are read-only and shared; each host writes to an overlay of its own.

ROOTFS_PACKAGES=(systemd systemd-sysv dbus udev openssh-server nftables iptables conntrack socat runc iproute2 iputils-ping
  ca-certificates kmod procps ethtool curl less util-linux mount)

# Units that have nothing to do in a container or fail there; `systemctl is-system-running` shall say `running`.
MASKED_UNITS=(console-getty.service e2scrub_reap.service systemd-update-utmp.service systemd-update-utmp-runlevel.service
  systemd-udevd.service systemd-udev-trigger.service systemd-udevd-control.socket systemd-udevd-kernel.socket
  apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
  nftables.service runc.service)

debian_release() { (. /etc/os-release && echo "$VERSION_CODENAME"); }
content_hash() { sha256sum | cut -c1-12; }

rootfs() { echo "$CACHE/rootfs-$({ debian_release; cat "$HACK/lab.d/rootfs.sh"; } | content_hash)"; }

build_rootfs() {
  local target
  target=$(rootfs)
  [[ -d $target ]] || step "Debian tree of the hosts" debootstrap_tree "$target"
}

debootstrap_tree() {
  local target=$1 mirror part
  part=$target.part
  mirror=$(apt-get indextargets --format '$(REPO_URI)' "Release: $(debian_release)" 'Created-By: Packages' | head -n 1)
  [[ -n $mirror ]] || { echo "apt has no source for Debian $(debian_release)"; return 1; }
  # debootstrap downloads with wget, which does not read apt's settings.
  local proxy
  proxy=$(apt-config dump --format '%v' Acquire::http::Proxy)
  [[ -z $proxy ]] || export http_proxy=$proxy https_proxy=$proxy
  rm -rf --one-file-system "$part"
  mkdir -p "$CACHE"
  # In a mount namespace, so that a debootstrap that is killed leaves no /proc mounted in the tree.
  unshare --mount debootstrap --variant=minbase --include="$(IFS=,; echo "${ROOTFS_PACKAGES[*]}")" "$(debian_release)" "$part" "$mirror"
  rm -rf "$part"/var/cache/apt/archives/*.deb "$part"/var/lib/apt/lists/* "$part"/etc/ssh/ssh_host_* "$part"/etc/hostname
  # An empty machine-id is filled at boot: each host gets its own.
  : >"$part/etc/machine-id"
  rm -f "$part/var/lib/dbus/machine-id"
  # No name server can be reached from a host. With none at all a lookup fails at once instead of after seconds.
  rm -f "$part/etc/resolv.conf"
  echo '# the lab has no name server; see /etc/hosts' >"$part/etc/resolv.conf"
  local unit
  for unit in "${MASKED_UNITS[@]}"; do ln -sf /dev/null "$part/etc/systemd/system/$unit"; done
  mv "$part" "$target"
}

node_layer() {
  echo "$CACHE/node-layer-$({ cat "$HACK/lab.d/rootfs.sh" "$(binary_stamp containerd "$CONTAINERD" containerd)" "$(binary_stamp kubernetes "$META_KUBERNETES" kubelet)"
    find "$HACK/lab.d/node" -type f -print0 | sort -z | xargs -0 cat; } | content_hash)"
}

build_node_layer() {
  local target part name
  target=$(node_layer)
  [[ -d $target ]] && return
  part=$target.part
  rm -rf "$part"
  mkdir -p "$part/usr/local/bin" "$part/opt/cni/bin"
  # Hard links: as the lower side of an overlay they are never written.
  for name in containerd containerd-shim-runc-v2 ctr; do ln "$(binary containerd "$CONTAINERD" $name)" "$part/usr/local/bin/"; done
  for name in kubelet kubeadm kubectl; do ln "$(binary kubernetes "$META_KUBERNETES" $name)" "$part/usr/local/bin/"; done
  for name in bridge loopback ptp host-local portmap; do ln "$(binary cni-plugins "$CNI_PLUGINS" $name)" "$part/opt/cni/bin/"; done
  cp -r "$HACK/lab.d/node/." "$part/"
  chmod 0755 "$part/usr/local/lib/lab/writable-kernel-files"
  mkdir -p "$part/etc/systemd/system/multi-user.target.wants" "$part/etc/systemd/system/sysinit.target.wants"
  ln -s ../containerd.service ../kubelet.service "$part/etc/systemd/system/multi-user.target.wants/"
  ln -s ../lab-writable-kernel-files.service "$part/etc/systemd/system/sysinit.target.wants/"
  mv "$part" "$target"
}
