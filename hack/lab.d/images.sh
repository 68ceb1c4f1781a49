# shellcheck shell=bash
# Images without a registry: docker-archive tars under upstream's names, and a containerd directory in which they
# are already unpacked, from which each host starts.

image_file() { echo "$IMAGES/$(tr '/:' '__' <<<"$1").tar"; } # NAME:TAG

# pack_image NAME:TAG ROOT [CONFIG_JSON]: one layer, one tar; the same input gives the same bytes.
pack_image() {
  local name=$1 root=$2 config=${3:-'{}'} file work layer
  file=$(image_file "$name")
  work=$(mktemp -d "$IMAGES/.pack.XXXXXX")
  tar --create --file "$work/layer.tar" --directory "$root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner .
  layer=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
  jq -n --arg arch "$(dpkg --print-architecture)" --arg layer "sha256:$layer" --argjson config "$config" '{
    architecture: $arch, os: "linux", created: "1970-01-01T00:00:00Z",
    config: ({Env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"]} + $config),
    rootfs: {type: "layers", diff_ids: [$layer]}, history: [{created: "1970-01-01T00:00:00Z"}]}' >"$work/config.json"
  jq -n --arg name "$name" '[{Config: "config.json", RepoTags: [$name], Layers: ["layer.tar"]}]' >"$work/manifest.json"
  tar --create --file "$file.part" --directory "$work" --mtime=@0 --owner=0 --group=0 --numeric-owner manifest.json config.json layer.tar
  rm -rf "$work"
  mv "$file.part" "$file"
}

# base_tree DIRECTORY: what any program may expect to find.
base_tree() {
  local root=$1
  mkdir -p "$root"/{etc/ssl/certs,usr/local/bin,usr/bin,usr/sbin,var/run,root,home/nonroot}
  ln -s usr/bin "$root/bin"
  ln -s usr/sbin "$root/sbin"
  install -d -m 1777 "$root/tmp"
  cp "$(rootfs)/etc/ssl/certs/ca-certificates.crt" "$root/etc/ssl/certs/"
  printf '%s\n' 'root:x:0:0:root:/root:/sbin/nologin' 'nobody:x:65534:65534:nobody:/:/sbin/nologin' \
    'nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' >"$root/etc/passwd"
  printf '%s\n' 'root:x:0:' 'nogroup:x:65534:' 'nonroot:x:65532:' >"$root/etc/group"
  echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
}

# copy_with_libraries SYSROOT ROOT FILE...: programs and plugins of SYSROOT (/ or a Debian tree) with all that they link to.
copy_with_libraries() {
  local sysroot=$1 root=$2 file
  shift 2
  for file in "$@"; do
    { echo "$file"; chroot "$sysroot" ldd "$file" | grep -o '/[^ ]*' || true; } | while read -r file; do
      mkdir -p "$root$(dirname "$file")"
      cp -L "$sysroot$file" "$root$file"
    done
  done
}

# The images of the lab. RECIPES names the function that fills the tree, then what it is made from.
lab_images() {
  local version
  for version in "${KUBERNETES_VERSIONS[@]}"; do
    echo "registry.k8s.io/kube-apiserver:v$version component kubernetes $version kube-apiserver"
    echo "registry.k8s.io/kube-controller-manager:v$version component kubernetes $version kube-controller-manager"
    echo "registry.k8s.io/kube-scheduler:v$version component kubernetes $version kube-scheduler"
    echo "registry.k8s.io/kube-proxy:v$version kube_proxy kubernetes $version kube-proxy"
  done
  echo "registry.k8s.io/etcd:$ETCD-0 component etcd $ETCD etcd etcdctl etcdutl"
  echo "registry.k8s.io/coredns/coredns:v$COREDNS coredns coredns $COREDNS coredns"
  echo "docker.io/rancher/local-path-provisioner:v$LOCAL_PATH component local-path-provisioner $LOCAL_PATH local-path-provisioner"
  echo "registry.k8s.io/pause:$PAUSE pause"
  echo "docker.io/library/busybox:$BUSYBOX busybox"
}

tree_of_component() { # ROOT COMPONENT VERSION NAME...
  local root=$1 component=$2 version=$3 name
  shift 3
  base_tree "$root"
  for name in "$@"; do cp "$(binary "$component" "$version" "$name")" "$root/usr/local/bin/"; done
}

# The nftables mode calls `nft`; the others want iptables, whose matches are plugins.
tree_of_kube_proxy() {
  local root=$1 debian
  tree_of_component "$@"
  debian=$(rootfs)
  local plugins
  plugins=$(cd "$debian" && find usr/lib -path '*/xtables/*.so' -printf '/%p ')
  # shellcheck disable=SC2086 # a list of paths without spaces
  copy_with_libraries "$debian" "$root" /usr/sbin/nft /usr/sbin/conntrack /usr/sbin/xtables-nft-multi $plugins
  local name
  for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
    ln -s xtables-nft-multi "$root/usr/sbin/$name"
  done
}

tree_of_coredns() {
  base_tree "$1"
  cp "$(binary coredns "$COREDNS" coredns)" "$1/coredns"
}

tree_of_pause() {
  mkdir -p "$1"
  gcc -Os -static -s -Wall -Wextra -Werror -o "$1/pause" "$HACK/lab.d/pause.c"
}

tree_of_busybox() {
  local applet
  base_tree "$1"
  cp /bin/busybox "$1/usr/bin/busybox"
  for applet in $(busybox --list); do [[ $applet == busybox ]] || ln -s busybox "$1/usr/bin/$applet"; done
}

config_of_image() {
  case $1 in
    */pause:*) echo '{"Entrypoint": ["/pause"], "User": "65535:65535"}' ;;
    */coredns:*) echo '{"Entrypoint": ["/coredns"], "User": "65532:65532"}' ;;
    */local-path-provisioner:*) echo '{"Cmd": ["local-path-provisioner"]}' ;;
    */busybox:*) echo '{"Cmd": ["sh"]}' ;;
    *) echo '{}' ;;
  esac
}

# What an image was made from: this file and the stamps of its binaries. Reading the binaries themselves takes seconds.
image_inputs() { # RECIPE COMPONENT VERSION NAME...
  local recipe=$1 component=${2:-} version=${3:-} name
  { cat "$HACK/lab.d/images.sh" "$HACK/lab.d/pause.c"; rootfs; echo "$recipe"
    for name in "${@:4}"; do cat "$(binary_stamp "$component" "$version" "$name")"; done; } | content_hash
}

build_images() {
  local name recipe inputs file
  mkdir -p "$IMAGES"
  while read -r name recipe; do
    file=$(image_file "$name")
    # shellcheck disable=SC2086 # the recipe is a list of words
    inputs=$(image_inputs $recipe)
    [[ -f $file && -f $file.stamp && $(<"$file.stamp") == "$inputs" ]] && continue
    # shellcheck disable=SC2086
    step "image $name" build_image "$name" $recipe
    echo "$inputs" >"$file.stamp"
  done < <(lab_images)
}

build_image() { # NAME:TAG RECIPE ARGUMENT...
  local name=$1 recipe=$2 root
  shift 2
  root=$(mktemp -d "$IMAGES/.tree.XXXXXX")
  chmod 0755 "$root"
  "tree_of_$recipe" "$root" "$@"
  pack_image "$name" "$root" "$(config_of_image "$name")"
  rm -rf "$root"
}

# Importing takes containerd a minute on a small machine, so it is done once. A host's directory is then made of
# hard links: blobs and unpacked layers are never written again, only the databases are, and those are copied.
containerd_seed() {
  local name _
  echo "$CACHE/containerd-$({ cat "$(binary_stamp containerd "$CONTAINERD" containerd)"
    while read -r name _; do echo "$name"; cat "$(image_file "$name").stamp"; done < <(lab_images); } | content_hash)"
}

build_containerd_seed() {
  local seed
  seed=$(containerd_seed)
  [[ -d $seed ]] || step "unpack the images" import_into_seed "$seed"
}

import_into_seed() {
  local seed=$1 part=$1.part state pid name _ ctr
  ctr=$(binary containerd "$CONTAINERD" ctr)
  state=$(mktemp -d)
  rm -rf --one-file-system "$part"
  mkdir -p "$part"
  printf '%s\n' 'version = 3' "root = '$part'" "state = '$state'" 'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri"]' \
    '[grpc]' "address = '$state/sock'" '[ttrpc]' "address = '$state/ttrpc'" >"$state/config.toml"
  unshare --mount "$(binary containerd "$CONTAINERD" containerd)" --config "$state/config.toml" 9>&- &
  pid=$!
  # shellcheck disable=SC2064 # the pid of now is meant
  trap "kill $pid 2>/dev/null || true; wait $pid || true; rm -rf '$state'" EXIT
  retry 30 test -S "$state/sock"
  while read -r name _; do
    "$ctr" --address "$state/sock" --namespace k8s.io images import "$(image_file "$name")"
  done < <(lab_images)
  kill "$pid"
  wait "$pid" || true
  mv "$part" "$seed"
}

copy_seed() { # DESTINATION
  local database seed
  seed=$(containerd_seed)
  cp --archive --link "$seed" "$1"
  find "$seed" -name '*.db' -printf '%P\n' | while read -r database; do
    rm "$1/$database"
    cp --archive "$seed/$database" "$1/$database"
  done
}

# load_image FILE: into every running host.
load_image() {
  local file=$1 host
  [[ -f $file ]] || die "no such file: $file"
  for host in $(running_hosts); do
    on_host "$host" ctr --namespace k8s.io images import - <"$file"
  done
}
