# Sourced by test.sh and check.sh: runs stages, prints how long each took, and adds up what their tests said.
#   stage NAME COMMAND...   runs the command; a failure is remembered and the next stage runs all the same
#   closing_line            prints "N passed, N failed" alone on a line; fails when anything failed
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
TARGET=${CARGO_TARGET_DIR:-target}
LOG=$TARGET/stages.log
SUMMARY=$TARGET/test-summary
mkdir -p "$TARGET"
: > "$LOG"
rm -f "$SUMMARY"
failed_stages=0

# count WORD FILE: the sum of the numbers before WORD in cargo's "test result" lines
count() { sed -n "s/^test result:.* \([0-9][0-9]*\) $1.*/\1/p" "$2" | awk '{ sum += $1 } END { print sum + 0 }'; }

stage() {
  local name=$1 started=$SECONDS code part=$TARGET/stage.log
  shift
  printf '\n=== %s\n' "$name"
  "$@" 2>&1 </dev/null | tee "$part"
  code=${PIPESTATUS[0]}
  cat "$part" >> "$LOG"
  if [ "$code" = 0 ]; then
    printf '=== %s: done in %s s\n' "$name" $((SECONDS - started))
    return 0
  fi
  printf '=== %s: FAILED after %s s (exit code %s)\n' "$name" $((SECONDS - started)) "$code"
  # A stage that died before its tests could say so counts as one failure.
  [ "$(count failed "$part")" -gt 0 ] || failed_stages=$((failed_stages + 1))
  return "$code"
}

closing_line() {
  local passed failed
  passed=$(count passed "$LOG")
  failed=$(($(count failed "$LOG") + failed_stages))
  printf '\n%s passed, %s failed\n' "$passed" "$failed" | tee "$SUMMARY"
  [ "$failed" = 0 ]
}


# One selection of packages for everything: cargo unites the features of what is selected, so a subset of the workspace
# would compile the dependencies again. What runs is chosen by target instead.
CARGO=(cargo --quiet)
ALL=(--release --locked --workspace)
# Tests that need no server, by the names of their targets.
PURE=(laws doors pump ownership routing render manifest api architecture vocabulary images)

# targets NAME...: `--test NAME` for each
targets() { printf -- '--test\n%s\n' "$@"; }
# test_names: every integration test of the workspace, a name a line
test_names() {
  cargo metadata --format-version 1 --no-deps --locked \
    | python3 -c 'import json,sys; print("\n".join(sorted({t["name"] for p in json.load(sys.stdin)["packages"] for t in p["targets"] if "test" in t["kind"]})))'
}
# run_tests TARGET...: runs the chosen targets, all of them even when one fails
run_tests() { "${CARGO[@]}" test "${ALL[@]}" --no-fail-fast "$@"; }
