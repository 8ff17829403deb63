#!/usr/bin/env bash
# How many documents a second does OxDaaS take from a file, and give back to one?
#
#   scripts/bench-bulk.sh [DOCUMENTS]    1,000,000 if not given
#
# Starts a server on a temporary directory, imports small documents three times (each
# time others under the same ids), stops it, exports three times, and compares what
# came out with what went in. Prints documents/s, median and spread. Fails when an
# export of at least 300,000 documents has less than 300,000 a second.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

floor=300000
runs=3

main() {
    case "${1:-}" in
        -h | --help)
            usage
            return
            ;;
    esac
    local documents="${1:-1000000}" binary run
    [[ "$documents" =~ ^[1-9][0-9]*$ && $# -le 1 ]] || fail "not a number of documents: $*; see --help"
    need python3
    make_workspace
    binary="$(release_binary)"
    start_server "$binary" --data-dir "$workspace/data"
    for ((run = 1; run <= runs; run++)); do
        write_documents "$documents" "$run" >"$workspace/in"
        timed import "$binary" import --url "http://$server_address" "$workspace/in" >/dev/null
    done
    stop_server TERM
    for ((run = 1; run <= runs; run++)); do
        timed export "$binary" export "$workspace/data" >"$workspace/out" 2>/dev/null
    done
    cmp <(sort "$workspace/in") <(sort "$workspace/out") || fail "what came out is not what went in"
    printf '%d documents of %d bytes a line, %d CPUs, fsync always\n' \
        "$documents" "$(($(stat -c %s "$workspace/in") / documents))" "$(nproc)"
    report import "$documents"
    report export "$documents"
    if ((documents >= floor && $(median export "$documents") < floor)); then
        fail "export has less than $floor documents/s"
    fi
}

# write_documents COUNT RUN: so many small documents, one a line.
write_documents() {
    python3 - "$1" "$2" <<'PYTHON'
import sys

count, run = int(sys.argv[1]), int(sys.argv[2])
for n in range(count):
    sys.stdout.write(f'{{"id":{n},"data":{{"n":{n},"run":{run},"ok":true}}}}\n')
PYTHON
}

# timed NAME COMMAND...: runs COMMAND and notes how many microseconds it took.
timed() {
    local name="$1" began="${EPOCHREALTIME/./}"
    shift
    "$@"
    printf '%d\n' "$((${EPOCHREALTIME/./} - began))" >>"$workspace/$name.times"
}

# rates NAME DOCUMENTS: documents/s of each run, ascending.
rates() {
    local microseconds
    while read -r microseconds; do
        printf '%d\n' "$(($2 * 1000000 / microseconds))"
    done <"$workspace/$1.times" | sort -n
}

median() {
    rates "$@" | sed -n "$((runs / 2 + 1))p"
}

report() {
    printf '%-7s %9d documents/s (median of %d, %d to %d)\n' "$1" "$(median "$@")" "$runs" \
        "$(rates "$@" | head -n 1)" "$(rates "$@" | tail -n 1)"
}

main "$@"
