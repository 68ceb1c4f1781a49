# shellcheck shell=bash
# How the scripts talk: one line a step with its elapsed time; the output of the step goes to a log.

say() { printf '%s\n' "$*" >&2; }
die() {
  printf 'hack/%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# step TITLE COMMAND...: runs COMMAND (usually a function) in a subshell, so variables that it sets do not come back.
step() {
  local title=$1 log pid started=$SECONDS next_line=30
  shift
  mkdir -p "$LOGS"
  log=$LOGS/$(tr -c 'a-zA-Z0-9\n' '-' <<<"$title" | tr -s - | sed 's/-$//').log
  # A process group of its own, so that Ctrl-C ends all that the step started.
  set -m
  ("$@") </dev/null >"$log" 2>&1 &
  pid=$!
  set +m
  # shellcheck disable=SC2064 # the pid of now is meant
  trap "kill -- -$pid 2>/dev/null; exit 130" INT TERM
  [[ -t 2 ]] || printf '%-52s ' "$title" >&2
  while kill -0 "$pid" 2>/dev/null; do
    if [[ -t 2 ]]; then
      printf '\r%-52s %4ds' "$title" $((SECONDS - started)) >&2
    elif ((SECONDS - started >= next_line)); then
      printf '%ds.. ' $((SECONDS - started)) >&2
      next_line=$((next_line + 30))
    fi
    sleep 0.1
  done
  local result=0
  wait "$pid" || result=$?
  trap - INT TERM
  if [[ -t 2 ]]; then printf '\r%-52s ' "$title" >&2; fi
  if ((result == 0)); then
    printf '%4ds\n' $((SECONDS - started)) >&2
  else
    printf 'FAILED after %ds\n' $((SECONDS - started)) >&2
    tail -n 25 "$log" | sed 's/^/  | /' >&2
    die "\"$title\" failed; all of its output is in $log"
  fi
}

# retry SECONDS COMMAND...: until it succeeds; the last failure is shown.
retry() {
  local deadline=$((SECONDS + $1)) output
  shift
  until output=$("$@" 2>&1); do
    if ((SECONDS >= deadline)); then
      printf 'gave up on: %s\n%s\n' "$*" "$output" >&2
      return 1
    fi
    sleep 0.2
  done
}
