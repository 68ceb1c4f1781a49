# Steps that change what runs: units, processes, kernel parameters, the boot.

step_daemon_reload() {
  begin
  systemctl daemon-reload || fail UnitFailed
}

# Prints one property of a unit.
property() {
  systemctl show --value --property="$2" -- "$1"
}

# unit <name> <action>
step_unit() {
  case $2 in
    enable)
      [ "$(property "$1" UnitFileState)" != enabled ] || return 0
      begin
      systemctl enable -- "$1" || fail UnitFailed
      ;;
    disable)
      case $(property "$1" UnitFileState) in enabled*) ;; *) return 0 ;; esac
      begin
      systemctl disable -- "$1" || fail UnitFailed
      ;;
    start)
      [ "$(property "$1" ActiveState)" != active ] || return 0
      begin
      systemctl reset-failed -- "$1" 2>/dev/null
      systemctl start -- "$1" || unit_failed "$1"
      ;;
    stop)
      case $(property "$1" ActiveState) in inactive | failed) return 0 ;; esac
      begin
      systemctl stop -- "$1" || unit_failed "$1"
      ;;
    restart) once "$1" restart ;;
    reload) once "$1" reload-or-restart ;;
    *) fail NotAllowed "$2 is no action" ;;
  esac
}

# Does $2 to the unit, unless this very step was interrupted after it had done so: then the invocation or the
# time of the last change is not the one that the journal has as it was before.
once() {
  now=$(property "$1" InvocationID)-$(property "$1" StateChangeTimestampMonotonic)
  case $journal in
    *"${newline}step $index unit begun $now$newline"* | *"${newline}step $index unit begun $now") ;;
    *"${newline}step $index unit begun "*)
      if [ "$(property "$1" ActiveState)" = active ]; then
        note changed
        return
      fi
      ;;
  esac
  begin "$now"
  systemctl reset-failed -- "$1" 2>/dev/null
  systemctl "$2" -- "$1" || unit_failed "$1"
}

# What a person would look at next goes into the tail.
unit_failed() {
  systemctl status --no-pager --lines=0 -- "$1"
  journalctl --no-pager --quiet --output=cat --lines=15 --unit="$1" 2>/dev/null
  fail UnitFailed
}

# wait_active <name> <stable ms> <within ms>
step_wait_active() {
  read_uptime
  deadline=$((uptime_ms + $3))
  while :; do
    active=$(property "$1" ActiveState)
    since=$(property "$1" ActiveEnterTimestampMonotonic)
    read_uptime
    if [ "$active" = active ] && [ $((uptime_ms - ${since:-0} / 1000)) -ge "$2" ]; then return; fi
    if [ "$active" = failed ] || [ "$uptime_ms" -ge "$deadline" ]; then
      say "$1 is ${active:-unknown}"
      unit_failed "$1"
    fi
    sleep 0.2
  done
}

# Runs a command for $1 seconds at most. timeout gives it a process group of its own, so that all of it can be
# killed; when we are told to end, it has to be told, too.
limited() {
  timeout -k 5 "$@" &
  child=$!
  trap 'kill "$child"; exit 143' TERM HUP INT
  wait "$child"
  code=$?
  trap - TERM HUP INT
  return "$code"
}

# probe <within ms> <expected output> <argv>...
step_probe() {
  within=$1
  expected=$2
  shift 2
  read_uptime
  deadline=$((uptime_ms + within))
  while :; do
    left=$((deadline - uptime_ms))
    [ "$left" -gt 1000 ] || left=1000
    if limited "$((left / 1000)).$((left % 1000 / 100))" "$@" >"$work/probe" 2>&1; then
      case $(cat "$work/probe") in *"$expected"*) return ;; esac
    fi
    read_uptime
    if [ "$uptime_ms" -ge "$deadline" ]; then
      cat "$work/probe"
      printf '\nexit %s\n' "$code"
      fail ProbeFailed
    fi
    sleep 0.3
  done
}

# run <within ms> <argv>...
step_run() {
  within=$(($1 / 1000))
  shift
  begin
  limited "$within" "$@"
  case $code in
    0) ;;
    124 | 137) fail TimedOut "not done within $within s" ;;
    *) exit "$code" ;;
  esac
}

# sysctl <key> <value>: as sysctl(8), dots separate unless a slash comes first.
step_sysctl() {
  case ${1%%[./]*}. in
    "$(printf '%s' "$1" | cut -d . -f 1).") file=/proc/sys/$(printf '%s' "$1" | tr ./ /.) ;;
    *) file=/proc/sys/$1 ;;
  esac
  now=$(cat -- "$file") || exit 1
  [ "$now" != "$2" ] || return 0
  begin
  printf '%s\n' "$2" >"$file" || exit 1
  [ "$(cat -- "$file")" = "$2" ] || fail CommandFailed "$1 did not take the value"
}

# load_module <name>
step_load_module() {
  [ ! -d "/sys/module/$(printf '%s' "$1" | tr - _)" ] || return 0
  begin
  modprobe -- "$1" || exit 1
}

# kill_cgroup <name>
step_kill_cgroup() {
  tries=0
  while :; do
    pids=
    set +f
    for group in "/sys/fs/cgroup/$1" "/sys/fs/cgroup/$1.slice" /sys/fs/cgroup/*/"$1" /sys/fs/cgroup/*/"$1.slice"; do
      [ -d "$group" ] || continue
      pids="$pids $(find "$group" -name cgroup.procs -exec cat {} + 2>/dev/null | tr '\n' ' ')"
    done
    set -f
    case $pids in *[0-9]*) ;; *) return ;; esac
    [ "$tries" -gt 0 ] || begin
    [ "$tries" -lt 100 ] || fail TimedOut "some processes do not die: $pids"
    tries=$((tries + 1))
    # shellcheck disable=SC2086 # a list of numbers
    kill -9 $pids 2>/dev/null
    sleep 0.1
  done
}

# reboot <boot id of the boot that is to end>: in a second, so that the answer gets out.
step_reboot() {
  read_boot
  [ "$boot" = "$1" ] || return 0
  begin "$1"
  sync
  systemd-run --quiet --on-active=1s --timer-property=AccuracySec=100ms systemctl reboot || fail UnitFailed
}
