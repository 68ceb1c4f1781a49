# Runs on a host, in any POSIX sh, as root. This text never changes with the request: the request is data, one
# line a thing, its fields separated by spaces. It is never evaluated; what a field says ends up in a variable
# and from there, quoted, in an argument or a file.
#
# The answer is made of frames: a line that begins with the request's nonce, then a body of any bytes until the
# next such line. The nonce is random, so nothing in a body can be taken for a frame.

set -u -f
unset IFS
export LC_ALL=C
PATH="${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin"
umask 022

state=/var/lib/kube-on-kube
lock=/run/lock/kube-on-kube.lock
newline='
'

# Sets `value` to what the field $1 says: bytes outside of [A-Za-z0-9_./:=@,+~-] come as \0ooo, and an empty
# field as \c.
decode() {
  case $1 in
    *\\*)
      value=$(printf '%b' "$1"; printf x)
      value=${value%x}
      ;;
    *) value=$1 ;;
  esac
}

# A line. echo would read backslashes in what it prints.
say() {
  printf '%s\n' "$*"
}

# Begins a frame.
frame() {
  printf '\n%s %s\n' "$nonce" "$*"
}

# Calls $1 with the fields of each request line that begins with the word $2.
for_each_line() {
  IFS=$newline
  for line in $request; do
    case $line in
      "$2 "*)
        unset IFS
        # shellcheck disable=SC2086 # fields have no blanks and no wildcards
        "$1" $line
        ;;
    esac
  done
  unset IFS
}

# Sets `uptime_ms` to the milliseconds since the boot.
read_uptime() {
  read -r uptime_ms _ </proc/uptime
  uptime_ms=${uptime_ms%.*}${uptime_ms#*.}0
}

# Sets `boot` to the boot id.
read_boot() {
  read -r boot </proc/sys/kernel/random/boot_id
}

# Nothing was asked for unless all of it arrived.
request=$(cat)
case $request in
  *"${newline}end") ;;
  *)
    say "the request is not whole" >&2
    exit 125
    ;;
esac
nonce=${request%%"$newline"*}
