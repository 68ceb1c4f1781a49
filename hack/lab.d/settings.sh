# shellcheck shell=bash
# Names, addresses, versions and directories of the lab. Everything else reads them from here.

HACK=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
REPO=$(dirname "$HACK")

# Caches and run state live outside the tree, so that a checkout stays clean and can be deleted.
CACHE=${KOK_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/kube-on-kube}
BIN=$CACHE/bin
IMAGES=$CACHE/images
STATE=$CACHE/lab
LOGS=$STATE/logs

# Network. The bridge stands in a namespace of its own: a firewall of the machine (Docker's, say) that drops
# what it forwards cannot break the lab, and deleting that namespace deletes every cable.
SWITCH=lab-switch
ROOT_LINK=lab0
ROOT_ADDRESS=10.77.0.1
POD_CIDR=10.244.0.0/16
SERVICE_CIDR=10.96.0.0/16
META_HOST=host-1
MAX_HOSTS=40

host_number() { echo "${1#host-}"; }
host_address() { echo "10.77.0.$((10 + $(host_number "$1")))"; }
# The first node that kubeadm registers gets 10.244.0.0/24, so host-1's pods get the same one.
host_pod_cidr() { echo "10.244.$(($(host_number "$1") - 1)).0/24"; }
host_netns() { echo "lab-$1"; }
host_dir() { echo "$STATE/hosts/$1"; }
# Hosts that exist in this lab (running or not), in order.
hosts() { [[ -d $STATE/hosts ]] && find "$STATE/hosts" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort -V || true; }

# Versions are pinned by the go.mod files, and their sums by go.sum.
pinned_version() { # COMPONENT MODULE
  awk -v module="$2" '{ sub(/^require /, "") } $1 == module { sub(/^v/, "", $2); print $2; exit }' "$HACK/go/$1/go.mod"
}
META_KUBERNETES=1.36.3 # what the meta cluster runs
KUBERNETES_VERSIONS=(1.36.3 1.35.4)
ETCD=$(pinned_version etcd go.etcd.io/etcd/server/v3)
CONTAINERD=$(pinned_version containerd github.com/containerd/containerd/v2)
CNI_PLUGINS=$(pinned_version cni-plugins github.com/containernetworking/plugins)
COREDNS=$(pinned_version coredns github.com/coredns/coredns)
LOCAL_PATH=$(pinned_version local-path-provisioner github.com/rancher/local-path-provisioner)
KUBECONFORM=$(pinned_version kubeconform github.com/yannh/kubeconform)
# Sums of release files that may be taken from a mirror instead of built.
RELEASE_SUMS=${KOK_RELEASE_SUMS:-$HACK/release.sha256}
PAUSE=3.10.2
BUSYBOX=1.36
