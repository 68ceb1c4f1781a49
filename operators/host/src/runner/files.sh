# Steps that change files. A file appears whole or not at all: it is made beside its place, flushed, and renamed.

# Sets `new` to a temporary path beside $1; the next operation removes it if this one is killed.
temporary() {
  new=$1.kok-new
  directory=${1%/*}
  directory=${directory:-/}
  mkdir -p -- "$directory" && printf '%s' "$new" >"$state/pending" && rm -rf -- "$new" || exit 1
}

# Moves `new` to $1, for good.
put_in_place() {
  mv -fT -- "$new" "$1" && sync -- "$directory" && rm -f "$state/pending" || exit 1
}

# Sets `sum` to the SHA-256 of a regular file; empty when there is none.
read_sum() {
  sum=
  if [ -f "$1" ] && [ ! -L "$1" ]; then
    sum=$(sha256sum <"$1") || exit 1
    sum=${sum%% *}
  fi
}

# claim
step_claim() {
  [ "$held_by" != "$owner" ] || return 0
  begin "$(say "$held_by" | tr ' ' /)"
  temporary "$state/owner"
  say "owner $owner $label" >"$new" && sync "$new" || exit 1
  put_in_place "$state/owner"
}

# The claim goes last: until then the operation can be given again.
step_release() {
  begin
  rm -rf -- "$state/debs" "$state/pending" "$state/journal.new" "$state/journal" && rm -f -- "$state/owner" || exit 1
  rmdir -- "$state" 2>/dev/null
  return 0
}

# directory <path> <mode>
step_directory() {
  if [ -d "$1" ] && [ "$(stat -L -c %a -- "$1")" = "$2" ]; then return; fi
  begin
  mkdir -p -- "$1" && chmod -- "$2" "$1" || exit 1
}

# fetch <destination> <mode> <sha256> <url>...
step_fetch() {
  destination=$1
  mode=$2
  wanted=$3
  shift 3
  read_sum "$destination"
  if [ "$sum" = "$wanted" ]; then
    [ "$(stat -c %a -- "$destination")" != "$mode" ] || return 0
    begin "$sum"
    chmod -- "$mode" "$destination" || exit 1
    return
  fi
  begin "$sum"
  temporary "$destination"
  download "$@"
  chmod -- "$mode" "$new" && sync -- "$new" || exit 1
  put_in_place "$destination"
  note after "$wanted"
}

# Downloads to `new` from the first URL whose content has the SHA-256 `wanted`.
download() {
  unlike=
  for url in "$@"; do
    rm -f -- "$new"
    download_from "$url" || continue
    read_sum "$new"
    [ "$sum" != "$wanted" ] || return 0
    say "$url: SHA-256 is $sum, not $wanted"
    unlike=1
  done
  rm -f -- "$new" "$state/pending"
  [ -z "$unlike" ] || fail Sha256Mismatch
  fail DownloadFailed
}

download_from() {
  if command -v curl >/dev/null; then
    curl -fsSL --proto '=http,https' --connect-timeout 10 --speed-limit 1000 --speed-time 30 -o "$new" -- "$1"
  elif command -v wget >/dev/null; then
    wget -nv -T 30 -t 1 -O "$new" -- "$1"
  elif [ -x /usr/lib/apt/apt-helper ]; then
    /usr/lib/apt/apt-helper -o Acquire::Retries=0 -o Acquire::http::Timeout=30 -o Acquire::https::Timeout=30 \
      download-file "$1" "$new"
  else
    fail NoDownloader 'neither curl nor wget nor apt-helper is there'
  fi
}

# unpack <archive> <directory> <strip>
step_unpack() {
  [ ! -d "$2" ] || return 0
  begin
  temporary "$2"
  mkdir -- "$new" || exit 1
  tar -x -f "$1" -C "$new" --no-same-owner --strip-components="$3" || exit 1
  find "$new" -type f -exec sync -- {} + || exit 1
  put_in_place "$2"
}

# link <path> <target>
step_link() {
  before=
  [ ! -L "$1" ] || before=$(readlink -- "$1"; printf x)
  before=${before%"${newline}x"}
  [ "$before" != "$2" ] || return 0
  begin "$before"
  temporary "$1"
  ln -s -- "$2" "$new" || exit 1
  put_in_place "$1"
}

# write_file <path> <mode> <uid> <gid> <sha256> <content in base64>
step_write_file() {
  read_sum "$1"
  if [ "$sum" = "$5" ] && [ "$(stat -c '%a %u %g' -- "$1")" = "$2 $3 $4" ]; then return; fi
  begin "$sum"
  temporary "$1"
  (
    umask 077
    printf '%s' "$6" | base64 -d >"$new"
  ) || exit 1
  read_sum "$new"
  [ "$sum" = "$5" ] || fail CommandFailed "$1 could not be written whole"
  chown -- "$3:$4" "$new" && chmod -- "$2" "$new" && sync -- "$new" || exit 1
  put_in_place "$1"
  note after "$5"
}

# remove_path <path>
step_remove_path() {
  case $1/ in
    *//* | */./* | */../*) fail NotAllowed "$1 is no plain path" ;;
    /etc/?* | /opt/?* | /run/?* | /srv/?* | /usr/local/?* | /var/cache/?* | /var/lib/?* | /var/log/?*) ;;
    *) fail NotAllowed "$1 is not below what may be removed" ;;
  esac
  if [ ! -e "$1" ] && [ ! -L "$1" ]; then return; fi
  begin
  if [ -d "$1" ] && [ ! -L "$1" ]; then
    unmount_below "$1"
    if mountpoint -q -- "$1"; then
      find "$1" -xdev -mindepth 1 -delete || exit 1
      return
    fi
  fi
  rm -rf --one-file-system -- "$1" || exit 1
}

# The mounts below a directory, the last one first. /proc/self/mountinfo writes blanks and backslashes as octals.
unmount_below() {
  below=
  while read -r _ _ _ _ point _; do
    case $point in *\\*) point=$(printf "%b" "$(printf "%s" "$point" | sed "s/\\\\/&0/g")") ;; esac
    case $point in "$1"/*) below=$point$newline$below ;; esac
  done </proc/self/mountinfo
  IFS=$newline
  for point in $below; do
    umount -- "$point" || umount -l -- "$point" || exit 1
  done
  unset IFS
}
