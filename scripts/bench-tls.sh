#!/usr/bin/env bash
# Measures what TLS costs a GET: the server's CPU time by https:// against http://.
#
#   scripts/bench-tls.sh [--rounds N] [--duration SECONDS]
#
#   --rounds N            runs of each, one after the other in turn (default 3)
#   --duration SECONDS    of each wrk run (default 5)
#
# 64 connections that are kept, one document of 100 bytes, a P-256 certificate. Prints a
# row for each run, and the ratio of the medians. Fails on any answer that is not a 2xx.
# OXDAAS_BINARY names a binary to use instead of building one.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

rounds=3
duration=5
binary=

main() {
    while [[ $# -gt 0 ]]; do
        case "$1" in
            -h | --help)
                usage
                return
                ;;
            --rounds | --duration)
                [[ "${2:-}" =~ ^[1-9][0-9]*$ ]] || fail "$1 needs a number"
                case "$1" in
                    --rounds) rounds="$2" ;;
                    --duration) duration="$2" ;;
                esac
                shift 2
                ;;
            *) fail "unknown argument $1; see --help" ;;
        esac
    done
    need wrk curl openssl awk
    make_workspace
    binary="$(release_binary)"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
        -keyout "$workspace/key.pem" -out "$workspace/cert.pem" 2>/dev/null
    local round
    printf '%-6s %12s %11s\n' '' requests/s 'CPU us/GET'
    for ((round = 0; round < rounds; round++)); do
        measure http
        measure https --tls-cert "$workspace/cert.pem" --tls-key "$workspace/key.pem"
    done
    awk '
        { cost[$1, count[$1]++] = $2 }
        function median(kind, i, j, swap) {
            for (i = 0; i < count[kind]; i++)
                for (j = i + 1; j < count[kind]; j++)
                    if (cost[kind, j] < cost[kind, i]) {
                        swap = cost[kind, i]; cost[kind, i] = cost[kind, j]; cost[kind, j] = swap
                    }
            return cost[kind, int(count[kind] / 2)]
        }
        END { printf "https takes %.2f times the CPU time of http\n", median("https") / median("http") }' "$workspace/rows"
}

# measure SCHEME OPTION...: one run against a server of its own.
measure() {
    local scheme="$1" url before after output
    shift
    rm -rf "$workspace/data"
    start_server "$binary" --data-dir "$workspace/data" "$@"
    url="$scheme://$server_address/docs/1"
    curl --silent --fail --insecure -X PUT --data "\"$(printf '%098d' 0)\"" \
        -H 'Content-Type: application/json' --output /dev/null "$url"
    before="$(cpu_ticks)"
    output="$(wrk -t1 -c64 "-d$duration" "$url")" || fail "wrk: $output"
    after="$(cpu_ticks)"
    [[ "$output" != *"Non-2xx"* && "$output" != *"Socket errors"* ]] || fail "$scheme had errors: $output"
    awk -v scheme="$scheme" -v ticks="$((after - before))" -v hertz="$(getconf CLK_TCK)" -v rows="$workspace/rows" '
        $2 == "requests" { requests = $1 }
        $1 == "Requests/sec:" { rate = $2 }
        END {
            cost = ticks * 1e6 / hertz / requests
            printf "%-6s %12.0f %11.2f\n", scheme, rate, cost
            print scheme, cost >>rows
        }' <<<"$output"
    stop_server TERM
}

main "$@"
