# shellcheck shell=bash
# Says early, and in words, why the lab cannot run here; installs the Debian packages that it needs.

LAB_PACKAGES=(debootstrap systemd-container iproute2 procps util-linux openssh-client busybox-static gcc libc6-dev jq curl ca-certificates)
# What `cargo build` needs beside Rust itself: a linker, and protoc with its standard files, for etcd's protocol.
RUST_PACKAGES=(gcc libc6-dev protobuf-compiler libprotobuf-dev)

require_root() {
  ((EUID == 0)) || die "needs root (namespaces, mounts, cgroups). Run it as root, on a machine that you may break."
}

require_debian() {
  local id codename
  id=$(. /etc/os-release && echo "$ID")
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  [[ $id == debian && -n $codename ]] || die "needs Debian (this is '$id'): the lab's hosts are debootstrapped from the machine's own apt sources. Use a Debian 12 or newer machine, VM or privileged container."
  command -v apt-get >/dev/null || die "needs apt-get"
}

require_rust() {
  command -v cargo >/dev/null || die "needs Rust: install rustup (https://rustup.rs); the toolchain is pinned in rust-toolchain.toml"
}

require_kernel() {
  grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || die "the kernel has no overlayfs (modprobe overlay)"
  [[ -d /sys/fs/cgroup ]] || die "no cgroups at /sys/fs/cgroup; mount them (on Debian: boot systemd, or apt-get install cgroupfs-mount)"
  local hierarchy
  while read -r hierarchy; do
    [[ -w $hierarchy/cgroup.procs ]] || die "cannot write $hierarchy: cgroups are not delegated here. In a container, run it privileged with its own cgroup namespace."
  done < <(cgroup_hierarchies)
  local probe=lab-probe-$$
  ip netns add "$probe" 2>/dev/null || die "cannot make network namespaces: CAP_SYS_ADMIN and CAP_NET_ADMIN are needed"
  local bridge=ok
  ip -n "$probe" link add br0 type bridge 2>/dev/null || bridge=missing
  ip netns del "$probe"
  [[ $bridge == ok ]] || die "the kernel has no bridge module (modprobe bridge br_netfilter veth)"
}

require_go() {
  command -v go >/dev/null || die "needs Go to build Kubernetes and etcd: install it from your distribution or go.dev, and put 'go' on PATH"
  local have need
  have=$(go env GOVERSION | sed 's/^go//; s/[- ].*//')
  need=$(awk '$1 == "go" { print $2 }' "$HACK"/go/*/go.mod | sort -V | tail -n 1)
  [[ $(printf '%s\n' "$need" "$have" | sort -V | head -n 1) == "$need" ]] || die "needs Go $need or newer, found $have"
}

install_packages() { # PACKAGE...
  local package missing=()
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  ((${#missing[@]} == 0)) && return
  apt_get_install() {
    apt-get install -y --no-install-recommends "${missing[@]}" || {
      apt-get update
      apt-get install -y --no-install-recommends "${missing[@]}"
    }
  }
  step "Debian packages: ${missing[*]}" apt_get_install
}
