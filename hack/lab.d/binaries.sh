# shellcheck shell=bash
# Kubernetes, etcd, containerd and the rest: taken from a release mirror if one is configured and the file's
# sum is pinned, else built from Go modules. Each binary is kept with a stamp of what it was made from.

binary() { echo "$BIN/$1-$2/$3"; }             # COMPONENT VERSION NAME
binary_stamp() { echo "$BIN/$1-$2/.$3.stamp"; } # COMPONENT VERSION NAME

build_all_binaries() {
  local version
  for version in "${KUBERNETES_VERSIONS[@]}"; do
    build_kubernetes "$version" kube-apiserver kube-controller-manager kube-scheduler kube-proxy
  done
  build_kubernetes "$META_KUBERNETES" kubelet kubeadm kubectl
  build_component etcd "$ETCD" "" etcd=go.etcd.io/etcd/server/v3 etcdctl=go.etcd.io/etcd/etcdctl/v3 etcdutl=go.etcd.io/etcd/etcdutl/v3
  local containerd=github.com/containerd/containerd/v2/cmd
  build_component containerd "$CONTAINERD" "no_btrfs no_zfs no_devmapper" \
    containerd=$containerd/containerd containerd-shim-runc-v2=$containerd/containerd-shim-runc-v2 ctr=$containerd/ctr
  local plugins=github.com/containernetworking/plugins/plugins
  build_component cni-plugins "$CNI_PLUGINS" "" bridge=$plugins/main/bridge loopback=$plugins/main/loopback \
    ptp=$plugins/main/ptp host-local=$plugins/ipam/host-local portmap=$plugins/meta/portmap
  build_component local-path-provisioner "$LOCAL_PATH" "" local-path-provisioner=github.com/rancher/local-path-provisioner
  build_component kubeconform "$KUBECONFORM" "" kubeconform=github.com/yannh/kubeconform/cmd/kubeconform
  build_component coredns "$COREDNS" "" coredns=github.com/coredns/coredns
}

# Kubernetes reads its own version from link-time variables; without them it says v0.0.0 and kubeadm refuses it.
build_kubernetes() { # VERSION NAME...
  local version=$1 name minor package=k8s.io/component-base/version
  shift
  minor=$(cut -d. -f2 <<<"$version")
  for name in "$@"; do
    build_binary "kubernetes-$version" kubernetes "$version" "$name" "k8s.io/kubernetes/cmd/$name" "" \
      "-s -w -X $package.gitVersion=v$version -X $package.gitMajor=1 -X $package.gitMinor=$minor"
  done
}

build_component() { # COMPONENT VERSION TAGS NAME=PACKAGE...
  local component=$1 version=$2 tags=$3 target
  shift 3
  for target in "$@"; do
    build_binary "$component" "$component" "$version" "${target%%=*}" "${target#*=}" "$tags" "-s -w"
  done
}

build_binary() { # GO_DIR COMPONENT VERSION NAME PACKAGE TAGS LDFLAGS
  local directory=$HACK/go/$1 component=$2 version=$3 name=$4 package=$5 tags=$6 ldflags=$7 target stamp made_from
  target=$(binary "$component" "$version" "$name")
  stamp=$(binary_stamp "$component" "$version" "$name")
  made_from=$(cat "$directory/go.mod" "$directory/go.sum" - <<<"$package $tags $ldflags" | sha256sum | cut -d' ' -f1)
  [[ -x $target && -f $stamp && $(<"$stamp") == "$made_from" ]] && return
  mkdir -p "$(dirname "$target")"
  if ! take_from_release "$component" "$version" "$name" "$target.part"; then
    require_go
    compile() { cd "$directory" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags "$tags" -ldflags "$ldflags" -o "$target.part" "$package"; }
    step "build $name $version" compile
  fi
  # Renamed last: a build that was killed leaves no half binary.
  mv "$target.part" "$target"
  echo "$made_from" >"$stamp"
}

# The layout is that of upstream's release bucket. Only Kubernetes has plain binaries there.
take_from_release() { # COMPONENT VERSION NAME DESTINATION
  local component=$1 version=$2 name=$3 destination=$4 path sum
  [[ -n ${KOK_RELEASE_MIRROR:-} && $component == kubernetes ]] || return 1
  path=release/v$version/bin/linux/$(dpkg --print-architecture)/$name
  sum=$(awk -v path="$path" '$2 == path { print $1 }' "$RELEASE_SUMS")
  [[ -n $sum ]] || return 1
  step "download $name $version" curl -fsSL --retry 3 -o "$destination" "${KOK_RELEASE_MIRROR%/}/$path"
  if ! echo "$sum  $destination" | sha256sum --check --status; then
    rm -f "$destination"
    die "$path from the mirror has another sha256 than $RELEASE_SUMS says; nothing was installed"
  fi
  chmod 0755 "$destination"
}
