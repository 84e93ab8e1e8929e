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

# Crates whose tests need no server at all.
PURE=(-p keyweir-contract -p keyweir-core -p keyweir-engine -p keyweir-crds -p keyweir-render -p keyweir-operator)

# e2e_tests PATTERN...: `--test NAME` for each test of e2e whose name matches
e2e_tests() {
  local pattern file
  for pattern in "$@"; do
    for file in e2e/tests/$pattern.rs; do
      [ ! -e "$file" ] || printf -- '--test\n%s\n' "$(basename "$file" .rs)"
    done
  done
}
