# shellcheck shell=bash
# cargo-deny, built once into the cache, and what it is asked.

CARGO_DENY_VERSION=0.20.2
CARGO_DENY=$BIN/cargo-deny-$CARGO_DENY_VERSION/bin/cargo-deny

install_cargo_deny() {
  [[ -x $CARGO_DENY ]] ||
    step "build cargo-deny $CARGO_DENY_VERSION" cargo install --quiet --locked --root "$BIN/cargo-deny-$CARGO_DENY_VERSION" "cargo-deny@$CARGO_DENY_VERSION"
}

# Known vulnerabilities. They are looked up in a database on the network; without it there is nothing to fail by.
check_advisories() {
  if timeout 60 "$CARGO_DENY" --locked fetch db >"$LOGS/advisory-database.log" 2>&1; then
    step "advisories" "$CARGO_DENY" --locked check --disable-fetch advisories
  else
    say "advisories: SKIPPED, the RustSec database cannot be reached ($LOGS/advisory-database.log)"
  fi
}
