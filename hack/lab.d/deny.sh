# shellcheck shell=bash
# cargo-deny, built once into the cache.

CARGO_DENY_VERSION=0.20.2
CARGO_DENY=$BIN/cargo-deny-$CARGO_DENY_VERSION/bin/cargo-deny

install_cargo_deny() {
  [[ -x $CARGO_DENY ]] ||
    step "build cargo-deny $CARGO_DENY_VERSION" cargo install --quiet --locked --root "$BIN/cargo-deny-$CARGO_DENY_VERSION" "cargo-deny@$CARGO_DENY_VERSION"
}
