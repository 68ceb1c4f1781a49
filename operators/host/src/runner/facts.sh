# Facts. Programs are started once for all paths or names, never once for each: hosts are asked often.

facts() {
  section system system
  section os cat /etc/os-release
  section state owner_and_journal
  section addresses hostname -I
  section dpkg dpkg_state
  with_values disk section disks disks
  with_values port section ports listening
  with_values path section paths paths
  with_values file section hashes hashes -size -8193
  with_values large section large-hashes hashes -size +0
  with_values unit section units units
  with_values deb section debs debs
  for_each_line probe probe
  for_each_line endpoint endpoint
  frame end
}

# Runs "$2"... with the values of all request lines of the word $1 behind it; not at all when there are none.
with_values() {
  word=$1
  shift
  some=
  IFS=$newline
  for line in $request; do
    case $line in
      "$word "*)
        decode "${line#* }"
        set -- "$@" "$value"
        some=1
        ;;
    esac
  done
  unset IFS
  if [ -n "$some" ]; then "$@"; fi
}

# A frame with what a command writes, and one with its exit code: without that the answer is not whole.
section() {
  name=$1
  shift
  frame section "$name"
  "$@" 2>&1
  frame exit $?
}

system() {
  say "kernel $(uname -nrm)"
  say "clock $(date +%s.%N)"
  say "euid $(id -u)"
  say "cpus $(nproc)"
  read_boot
  say "boot $boot"
  read_uptime
  say "uptime $uptime_ms"
  machine=
  [ ! -r /etc/machine-id ] || read -r machine </etc/machine-id
  say "machine $machine"
  while read -r key amount _; do
    case $key in MemTotal:) say "memory $amount" ;; esac
  done </proc/meminfo
  if [ -r /proc/swaps ]; then
    while read -r device _; do
      case $device in Filename) ;; *) say "swap $device" ;; esac
    done </proc/swaps
  fi
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    say 'cgroup v2'
  elif [ -d /sys/fs/cgroup/cpu ] || [ -d /sys/fs/cgroup/memory ] || [ -d /sys/fs/cgroup/systemd ]; then
    say 'cgroup v1'
  fi
  [ ! -d /run/systemd/system ] || say 'systemd yes'
  for socket in /run/containerd/containerd.sock /run/crio/crio.sock /run/cri-dockerd.sock /run/docker.sock; do
    [ ! -S "$socket" ] || say "socket $socket"
  done
  if [ -e "$lock" ] && ! flock -n "$lock" true; then say 'busy yes'; fi
}

owner_and_journal() {
  [ ! -e "$state/owner" ] || cat "$state/owner"
  [ ! -e "$state/journal" ] || cat "$state/journal"
}

# First whether each can be written, then for each a line `available-blocks block-size all-blocks free-inodes`,
# of the file system that holds the path, or will hold it.
disks() {
  left=$#
  writable=
  while [ "$left" -gt 0 ]; do
    path=$1
    shift
    while [ ! -e "$path" ] && [ -n "$path" ]; do path=${path%/*}; done
    path=${path:-/}
    set -- "$@" "$path"
    if [ -w "$path" ]; then writable="$writable yes"; else writable="$writable no"; fi
    left=$((left - 1))
  done
  say "$writable"
  stat -f -c '%a %S %b %d' -- "$@"
}

# Lines of listening sockets on the asked ports, as the kernel prints them.
listening() {
  pattern=
  for port in "$@"; do
    pattern="$pattern${pattern:+|}$(printf '%04X' "$port")"
  done
  set -- /proc/net/tcp
  [ ! -r /proc/net/tcp6 ] || set -- "$@" /proc/net/tcp6
  grep -hE "^ *[0-9]+: [0-9A-F]+:($pattern) [0-9A-F]+:0000 0A " "$@"
  [ $? -le 1 ]
}

# Nine fields for each path that exists, each ended by a NUL; then a frame of what find says of the others.
paths() {
  {
    complaints=$(find "$@" -maxdepth 0 -printf '%p\0%y\0%m\0%U\0%G\0%s\0%T@\0%i\0%l\0' 2>&1 >&3 3>&-)
  } 3>&1
  frame section complaints
  printf '%s' "$complaints"
}

# SHA-256 of regular files that pass the test `$1 $2` of find. What is missing here was told by `paths`.
hashes() {
  test=$1
  size=$2
  shift 2
  find "$@" -maxdepth 0 -type f "$test" "$size" -exec sha256sum -z -- {} + 2>/dev/null
  return 0
}

# A block of lines for each unit, in order.
units() {
  systemctl show --no-pager --property=Id,LoadState,ActiveState,SubState,UnitFileState,NRestarts,Result \
    --property=ActiveEnterTimestampMonotonic,NeedDaemonReload -- "$@"
}

# Tab separated lines; dpkg complains about names that it does not know.
debs() {
  dpkg-query -W -f '${Package}\t${db:Status-Want}\t${db:Status-Status}\t${Version}\n' -- "$@" 2>/dev/null
  [ $? -le 1 ]
}

dpkg_state() {
  command -v dpkg-query >/dev/null || return 0
  say present
  set +f
  for update in /var/lib/dpkg/updates/[0-9]*; do
    [ ! -e "$update" ] || say interrupted
    break
  done
  set -f
  # /proc/locks names files by inode.
  for inode in $(stat -c %i /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock 2>/dev/null); do
    while read -r _ kind _ _ _ where _; do
      case "$kind $where" in "POSIX "*":$inode") say locked ;; esac
    done </proc/locks
  done
}

# probe <name> <argv>...: a frame with what it wrote, and its exit code behind the last space.
probe() {
  name=$2
  shift 2
  left=$#
  while [ "$left" -gt 0 ]; do
    decode "$1"
    shift
    set -- "$@" "$value"
    left=$((left - 1))
  done
  frame probe "$name"
  {
    timeout -k 1 5 "$@" 2>&1 </dev/null
    say " $?"
  } | tail -c 4096
}

# endpoint <host> <port>: a frame that says whether a TCP connection could be opened.
endpoint() {
  decode "$2"
  frame endpoint "$2" "$3"
  if ! command -v bash >/dev/null; then
    say unknown
    return
  fi
  # shellcheck disable=SC2016 # bash's own arguments
  if why=$(timeout -k 1 3 bash -c 'exec 3<>"/dev/tcp/$1/$2"' kok "$value" "$3" 2>&1); then
    say connected
  else
    case $? in 124 | 137) why='no answer within 3 s' ;; esac
    say "failed ${why##*: }"
  fi
}
