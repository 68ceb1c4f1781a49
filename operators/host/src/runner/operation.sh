# An operation: whether it is accepted, its journal, and its steps in order.
#
# The journal is what makes an operation resumable. It names the operation, its generation, a digest of its steps
# and the boot, and gets a line when a step begins to change something and one when it ended:
#   operation <id> <generation> <digest> <boot id>
#   step <index> <kind> begun <before>
#   step <index> <kind> done <before> <after>
#   step <index> <kind> failed <before> <reason>
#   finished

work=/run/kube-on-kube

operation() {
  for_each_line header operation
  for_each_line header owner
  for_each_line header claim
  accept
  trap 'rm -rf "$work"' EXIT
  trap 'exit 143' TERM HUP INT PIPE
  remove_leftover
  frame accepted
  for_each_line run_step step
  [ ! -e "$state/journal" ] || say finished >>"$state/journal"
  frame end
}

# operation <id> <generation> <digest>
# owner <cluster> <machine> <label>
# claim <cluster> <machine>: only when the first step is a claim; whom it may take the host from
header() {
  case $1 in
    operation)
      id=$2
      generation=$3
      digest=$4
      ;;
    owner)
      owner="$2 $3"
      label=$4
      ;;
    claim) claims="$2 $3" ;;
  esac
}

refuse() {
  frame refused "$@"
  exit 0
}

# Nothing is written before it is clear that this operation may run.
accept() {
  [ "$(id -u)" -eq 0 ] || refuse not-root
  may_run
  # shellcheck disable=SC2174 # the parents exist
  why=$(mkdir -p -m 700 "$state" "$work" 2>&1 && mkdir -p "${lock%/*}" 2>&1 && : 2>&1 >>"$lock") \
    || refuse unwritable "${why##*: }"
  # What this operation starts inherits the lock: as long as any of it lives, nothing else begins.
  exec 9>>"$lock"
  flock -n 9 || refuse busy
  rm -rf "$work"
  mkdir -m 700 "$work"
  may_run
  take_up
}

may_run() {
  held_by=
  if [ -e "$state/owner" ]; then
    read -r _ held_cluster held_machine held_label <"$state/owner"
    held_by="$held_cluster $held_machine"
  fi
  last_id=
  if [ -z "$held_by" ]; then
    [ -n "${claims+set}" ] || refuse not-claimed
  elif [ "$held_by" = "$owner" ]; then
    [ -e "$state/journal" ] || return 0
    read -r _ last_id last_generation last_digest last_boot <"$state/journal"
    [ "$generation" -ge "$last_generation" ] || refuse older-generation "$last_generation"
    if [ "$id" = "$last_id" ] && [ "$digest" != "$last_digest" ]; then refuse id-reused; fi
  elif [ "$held_by" != "${claims-}" ]; then
    refuse conflict "$held_by" "$held_label"
  fi
}

# Goes on with the journal of this operation, or begins a new one. After a reboot that was not ours nothing that
# the journal says is relied on: what was written shortly before may be lost.
take_up() {
  read_boot
  journal=
  if [ "$id" = "$last_id" ]; then
    journal=$newline$(cat "$state/journal")
    [ "$boot" != "$last_boot" ] || return 0
    case ${journal##*"$newline"} in 'step '*' reboot begun '*) return 0 ;; esac
    journal=
  fi
  # shellcheck disable=SC2116 # into a file
  if why=$(say "operation $id $generation $digest $boot" 2>&1 >"$state/journal.new") \
    && why=$(sync "$state/journal.new" 2>&1 && mv -f "$state/journal.new" "$state/journal" 2>&1); then
    sync "$state"
  else
    rm -f "$state/journal.new"
    refuse unwritable "${why##*: }"
  fi
}

# A crash leaves at most one temporary path behind.
remove_leftover() {
  [ -e "$state/pending" ] || return 0
  leftover=$(cat "$state/pending")
  case $leftover in *.kok-new | /var/cache/kube-on-kube/*.deb) rm -rf -- "$leftover" ;; esac
  rm -f "$state/pending"
}

# step <index> <kind> <arguments>...
run_step() {
  index=$2
  kind=$3
  shift 3
  case $journal in
    *"${newline}step $index $kind done "*)
      frame step "$index" before 0
      return
      ;;
  esac
  left=$#
  while [ "$left" -gt 0 ]; do
    decode "$1"
    shift
    set -- "$@" "$value"
    left=$((left - 1))
  done
  read_uptime
  started=$uptime_ms
  : >"$work/notes"
  (
    exec 3>"$work/notes" >"$work/log" 2>&1 </dev/null
    "step_$kind" "$@"
  )
  code=$?
  read_uptime
  finish_step $((uptime_ms - started)) "${1-}"
}

# Reads what the step noted, writes the journal, and tells.
finish_step() {
  changed=
  before='\c'
  after='\c'
  reason=CommandFailed
  while read -r what text; do
    case $what in
      changed) changed=1 ;;
      before) before=$text ;;
      after) after=$text ;;
      reason) reason=$text ;;
    esac
  done <"$work/notes"
  if [ "$code" -ne 0 ]; then
    classify "$2"
    log_step failed "$before" "$reason"
    frame step "$index" failed "$1" "$reason" "$code"
    tail -c 2048 "$work/log"
    frame end
    exit 0
  fi
  if [ "$kind" = reboot ] && [ -n "$changed" ]; then
    frame step "$index" rebooting "$1"
    frame end
    exit 0
  fi
  [ "$kind" = release ] || log_step 'done' "$before" "$after"
  if [ -n "$changed" ]; then
    frame step "$index" changed "$1"
  else
    frame step "$index" unchanged "$1"
  fi
}

# A full or read-only disk shows only in the message of whatever met it, if at all.
classify() {
  case $reason in CommandFailed | DownloadFailed | PackageFailed) ;; *) return 0 ;; esac
  case $(tail -c 8192 "$work/log") in
    *'No space left on device'* | *'Disk quota exceeded'* | *"don't have enough free space"*) reason=DiskFull ;;
    *'Read-only file system'*) reason=ReadOnly ;;
  esac
  for path in "$state" "$1"; do
    case $path in
      /*)
        while [ ! -d "$path" ]; do path=${path%/*}/; path=${path%/}; path=${path:-/}; done
        [ "$(stat -f -c %a -- "$path")" != 0 ] || reason=DiskFull
        ;;
    esac
  done
}

log_step() {
  say "step $index $kind $*" >>"$state/journal"
}

# What a step says about itself: `changed`, `before`, `after`, `reason`.
note() {
  say "$*" >&3
}

# To be called before the first change, with what is there now.
begin() {
  case ${1-} in
    "") was='\c' ;;
    *[!A-Za-z0-9_./:=@,+~-]*) was='?' ;;
    *) was=$1 ;;
  esac
  note changed
  note before "$was"
  log_step begun "$was" || exit 1
}

# Ends a step that cannot be done.
fail() {
  note reason "$1"
  shift
  [ $# -eq 0 ] || say "$*"
  exit 1
}
