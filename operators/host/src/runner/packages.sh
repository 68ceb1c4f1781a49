# Steps that change Debian packages. dpkg may be busy with somebody else, or may have been interrupted.

export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 APT_LISTCHANGES_FRONTEND=none

# How long to wait for others that hold the package database.
lock_wait=120

apt() {
  apt-get -q -y -o DPkg::Lock::Timeout=$lock_wait -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef \
    -o Dpkg::Options::=--force-confold "$@"
}

# Prints `<want> <status> <version>` of a package; nothing when dpkg does not know it.
deb_state() {
  dpkg-query -W -f '${db:Status-Want} ${db:Status-Status} ${Version}' -- "$1" 2>/dev/null
}

# install_deb <name> <version> <hold: yes|no> apt [<list>]
# install_deb <name> <version> <hold: yes|no> file <sha256> <url>...
step_install_deb() {
  deb=$1
  version=$2
  hold=$3
  kind_of_source=$4
  shift 4
  pin=/etc/apt/preferences.d/kube-on-kube-$deb.pref
  now=$(deb_state "$deb")
  case $now in
    "hold installed $version") [ "$hold" = no ] || [ ! -e "$pin" ] || return 0 ;;
    "install installed $version") [ "$hold" = yes ] || return 0 ;;
  esac
  case $now in *' not-installed '* | '') begin ;; *) begin "${now##* }" ;; esac
  recover
  case $now in
    *" installed $version") ;;
    *)
      mkdir -p "$state/debs" || exit 1
      [ -e "$state/debs/$deb" ] || installed >"$state/debs/$deb" || exit 1
      "from_$kind_of_source" "$@"
      ;;
  esac
  if [ "$hold" = yes ]; then
    temporary "$pin"
    printf 'Package: %s\nPin: version %s\nPin-Priority: 1001\n' "$deb" "$version" >"$new" && sync "$new" || exit 1
    put_in_place "$pin"
    apt-mark hold "$deb" || fail PackageFailed
  fi
  case $(deb_state "$deb") in
    "hold installed $version" | "install installed $version") note after "$version" ;;
    *) fail PackageFailed "$deb is: $(deb_state "$deb")" ;;
  esac
}

# Names of the packages that are installed.
installed() {
  dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p'
}

from_apt() {
  if [ $# -gt 0 ]; then
    apt update -o Dir::Etc::sourcelist="$1" -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0 || apt_failed
  fi
  install_or_refresh "$deb=$version"
}

from_file() {
  wanted=$1
  shift
  temporary "/var/cache/kube-on-kube/$deb.deb"
  download "$@"
  mv -fT -- "$new" "$directory/$deb.deb" && printf "%s" "$directory/$deb.deb" >"$state/pending" || exit 1
  install_or_refresh "$directory/$deb.deb"
  rm -f -- "$directory/$deb.deb" "$state/pending"
  rmdir -- "$directory" 2>/dev/null
  return 0
}

# The index of the distribution may be missing or old: fetched only when the package does not install without.
install_or_refresh() {
  set -- --no-install-recommends --allow-downgrades --allow-change-held-packages install "$1"
  apt "$@" && return
  recover
  apt update || apt_failed
  apt "$@" || apt_failed
}

apt_failed() {
  case $(tail -c 4096 "$work/log") in
    *'Could not get lock'* | *'is another process using it'* | *'is held by process'*) fail PackagesLocked ;;
    *'Unable to fetch'* | *'Failed to fetch'* | *'Unable to locate package'*) fail DownloadFailed ;;
    *) fail PackageFailed ;;
  esac
}

# Finishes what an interrupted dpkg has left. dpkg itself does not wait for its lock.
recover() {
  waited=0
  until dpkg --force-confdef --force-confold --configure -a >"$work/dpkg" 2>&1; do
    case $(cat "$work/dpkg") in
      *lock*) ;;
      *)
        cat "$work/dpkg"
        apt --fix-broken install || apt_failed
        return
        ;;
    esac
    [ "$waited" -lt "$lock_wait" ] || fail PackagesLocked "$(cat "$work/dpkg")"
    waited=$((waited + 1))
    sleep 1
  done
}

# remove_deb <name>: and those that came with it and that nothing else needs.
step_remove_deb() {
  deb=$1
  pin=/etc/apt/preferences.d/kube-on-kube-$deb.pref
  now=$(deb_state "$deb")
  case $now in
    *' not-installed '* | '') [ -e "$pin" ] || [ -e "$state/debs/$deb" ] || return 0 ;;
  esac
  begin "${now##* }"
  recover
  case $now in
    *' not-installed '* | '') ;;
    *)
      apt-mark unhold "$deb"
      apt --allow-change-held-packages purge "$deb" || apt_failed
      ;;
  esac
  if [ -e "$state/debs/$deb" ]; then
    unneeded=$(apt-get -s autoremove | sed -n 's/^Remv \([^ ]*\).*/\1/p' | grep -vxFf "$state/debs/$deb")
    # shellcheck disable=SC2086 # names of packages
    [ -z "$unneeded" ] || apt purge $unneeded || apt_failed
    rm -f "$state/debs/$deb"
  fi
  rm -f "$pin"
}
