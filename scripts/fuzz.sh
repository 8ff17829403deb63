#!/usr/bin/env bash
# Runs each fuzz target of tests/fuzz for a while, from the seeds kept there.
#
#   scripts/fuzz.sh [SECONDS]    how long each target runs; 60 if not given
#
# Needs cargo-fuzz (cargo install cargo-fuzz) and a C++ compiler. What was learnt
# stays in tests/fuzz/corpus, a counterexample in tests/fuzz/artifacts; neither
# is committed. A counterexample that was understood goes to tests/fuzz/seeds,
# where tests/fuzz_regressions.rs holds it for good.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
    case "${1:-}" in
        -h | --help)
            usage
            return
            ;;
    esac
    local seconds="${1:-60}" target
    [[ "$seconds" =~ ^[1-9][0-9]*$ && $# -le 1 ]] || fail "not a number of seconds: $*; see --help"
    need cargo c++
    cargo fuzz --version >/dev/null 2>&1 || fail "cargo-fuzz is missing: cargo install cargo-fuzz"
    cd "$root"
    # The instrumentation needs options that a stable compiler hides; the address
    # sanitizer is left out because the targets run safe code alone.
    export RUSTC_BOOTSTRAP=1
    for target in record http json api; do
        mkdir -p "tests/fuzz/corpus/$target"
        printf '\n== %s, %s s\n' "$target" "$seconds"
        cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none "$target" \
            "tests/fuzz/corpus/$target" "tests/fuzz/seeds/$target" -- \
            -max_total_time="$seconds" -max_len=4096 -timeout=10 -print_final_stats=1
    done
}

main "$@"
