# shellcheck shell=bash
# One cgroup a host, in every hierarchy: without it the kubelets of all hosts share one /kubepods and fight.
# It is also the surest record of which processes belong to the lab.

# The directories that cgroup file systems are mounted on: several for v1, one for v2.
cgroup_hierarchies() { awk '($3 == "cgroup" || $3 == "cgroup2") && $2 ~ "^/sys/fs/cgroup" { print $2 }' /proc/mounts | sort -u; }
cgroup_of() { echo "lab-$1"; } # HOST

make_cgroups() { # HOST
  local hierarchy group file
  while read -r hierarchy; do
    group=$hierarchy/$(cgroup_of "$1")
    mkdir -p "$group"
    # v1: a new cpuset is empty, and nothing can join it.
    for file in cpuset.cpus cpuset.mems; do
      if [[ -f $hierarchy/$file ]]; then cat "$hierarchy/$file" >"$group/$file"; fi
    done
    # v2: the host may only give its pods what it was given.
    if [[ -f $hierarchy/cgroup.controllers ]]; then
      sed 's/\</+/g' "$hierarchy/cgroup.controllers" >"$hierarchy/cgroup.subtree_control"
    fi
    # The meta cluster's host gets more CPU than the others: when it starves, its probes restart it.
    if [[ $1 == "$META_HOST" ]]; then
      if [[ -f $group/cpu.shares ]]; then echo 4096 >"$group/cpu.shares"; fi
      if [[ -f $group/cpu.weight ]]; then echo 400 >"$group/cpu.weight"; fi
    fi
  done < <(cgroup_hierarchies)
}

join_cgroups() { # HOST PID
  local hierarchy
  while read -r hierarchy; do echo "$2" >"$hierarchy/$(cgroup_of "$1")/cgroup.procs"; done < <(cgroup_hierarchies)
}

# Every process of the host, also of its pods.
cgroup_processes() { # HOST
  local hierarchy
  while read -r hierarchy; do
    if [[ -d $hierarchy/$(cgroup_of "$1") ]]; then
      find "$hierarchy/$(cgroup_of "$1")" -name cgroup.procs -exec cat {} + 2>/dev/null || true
    fi
  done < <(cgroup_hierarchies) | sort -un
}

remove_cgroups() { # HOST
  local hierarchy
  while read -r hierarchy; do
    if [[ -d $hierarchy/$(cgroup_of "$1") ]]; then find "$hierarchy/$(cgroup_of "$1")" -depth -type d -exec rmdir {} +; fi
  done < <(cgroup_hierarchies)
}
