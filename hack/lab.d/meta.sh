# shellcheck shell=bash
# The meta cluster: kubeadm on host-1, then DNS and storage.

META_KUBECONFIG=$STATE/kubeconfig
META_DNS_ADDRESS=10.96.0.10

kubectl_meta() { "$(binary kubernetes "$META_KUBERNETES" kubectl)" --kubeconfig "$META_KUBECONFIG" "$@"; }

fill_in() { # FILE
  sed -e "s|@HOST@|$META_HOST|g" -e "s|@ADDRESS@|$(host_address "$META_HOST")|g" -e "s|@KUBERNETES@|$META_KUBERNETES|g" \
    -e "s|@ETCD@|$ETCD|g" -e "s|@COREDNS@|$COREDNS|g" -e "s|@LOCAL_PATH@|$LOCAL_PATH|g" -e "s|@BUSYBOX@|$BUSYBOX|g" \
    -e "s|@POD_CIDR@|$POD_CIDR|g" -e "s|@SERVICE_CIDR@|$SERVICE_CIDR|g" -e "s|@DNS_ADDRESS@|$META_DNS_ADDRESS|g" "$1"
}

meta_ready() {
  [[ -f $META_KUBECONFIG ]] &&
    kubectl_meta get --raw /readyz >/dev/null 2>&1 &&
    kubectl_meta wait --for=condition=Ready --timeout=0 "node/$META_HOST" >/dev/null 2>&1
}

meta_addons_ready() {
  kubectl_meta rollout status --watch=false -n kube-system deployment/coredns | grep -q 'successfully rolled out' &&
    kubectl_meta rollout status --watch=false -n local-path-storage deployment/local-path-provisioner | grep -q 'successfully rolled out'
}

start_control_plane() {
  # Half an init (it was killed) is no cluster: begin again.
  on_host "$META_HOST" 'test ! -e /etc/kubernetes/manifests || kubeadm reset --force >/dev/null 2>&1; mkdir -p /etc/kubernetes/lab/patches'
  tar -C "$HACK/lab.d/meta" -c patches | on_host "$META_HOST" tar -C /etc/kubernetes/lab -x --no-same-owner
  fill_in "$HACK/lab.d/meta/kubeadm.yaml" | on_host "$META_HOST" 'cat >/etc/kubernetes/lab/kubeadm.yaml'
  # CoreDNS is the lab's own. The preflight checks are about a machine that is not Debian's init in a namespace.
  on_host "$META_HOST" kubeadm init --config /etc/kubernetes/lab/kubeadm.yaml --ignore-preflight-errors=all --skip-phases=addon/coredns
  (umask 077 && on_host "$META_HOST" cat /etc/kubernetes/admin.conf >"$META_KUBECONFIG.part")
  mv "$META_KUBECONFIG.part" "$META_KUBECONFIG"
}

install_addons() {
  # Without a request it is the first to starve on a loaded machine, and Services then lead to pods that are gone.
  kubectl_meta set resources -n kube-system daemonset/kube-proxy --requests=cpu=100m
  fill_in "$HACK/lab.d/meta/coredns.yaml" | kubectl_meta apply --server-side -f -
  fill_in "$HACK/lab.d/meta/storage.yaml" | kubectl_meta apply --server-side -f -
}

up_meta() {
  if [[ ! -f $META_KUBECONFIG ]]; then
    step "control plane of the meta cluster" start_control_plane
    step "DNS and storage" install_addons
  fi
  meta_ready || step "node $META_HOST Ready" retry 180 meta_ready
  meta_addons_ready 2>/dev/null || step "DNS and storage Ready" retry 180 meta_addons_ready
}

# A business cluster's own kubeconfig, as its operator published it.
business_kubeconfig() { # CLUSTER
  local file=$STATE/kubeconfigs/$1 content
  [[ $1 =~ ^[a-z0-9]([-a-z0-9]*[a-z0-9])?$ ]] || die "'$1' is no name of a cluster"
  content=$(kubectl_meta get secret -n "cluster-$1" admin-kubeconfig -o 'jsonpath={.data.kubeconfig}') ||
    die "cluster '$1' has no Secret cluster-$1/admin-kubeconfig (yet); see: hack/lab kubectl get clusters"
  mkdir -p "$STATE/kubeconfigs"
  (umask 077 && base64 -d <<<"$content" >"$file.part")
  mv "$file.part" "$file"
  echo "$file"
}
