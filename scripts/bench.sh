#!/usr/bin/env bash
# Measures OxDaaS under ab and wrk and prints one table.
#
#   scripts/bench.sh [OPTION...]
#
#   --duration SECONDS     of each wrk run (default 10)
#   --connections N        of each wrk run (default 64)
#   --threads N            of wrk (default: one a CPU)
#   --ab-requests N        requests of ab (default 50000)
#   --ab-connections N     connections of ab (default 500)
#   --fsync "POLICY..."    policies for the runs that write (default "always everysec never")
#   --cores N              cores of the server (default: its own default)
#   --stored N             documents stored before the GET runs (default 10000)
#   --only NAME            one run: ab, get-random, post-distinct, post-same, mixed, get-pipelined
#
# ab runs exactly as ExDaas benchmarked itself. The server gets a temporary
# directory, which is removed, and its CPU time is read from /proc, so that
# requests/s of a shared machine can be told from the cost of a request.
# Any answer that is not a 2xx, and any socket error, fails the script.
# OXDAAS_BINARY names a binary to use instead of building one.
# Latencies of get-pipelined are those of a batch of 16.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

duration=10
connections=64
threads="$(nproc)"
ab_requests=50000
ab_connections=500
policies="always everysec never"
cores=
stored=10000
only=
binary=
failures=0
runs=0
rows=

main() {
    while [[ $# -gt 0 ]]; do
        case "$1" in
            -h | --help)
                usage
                return
                ;;
            --*)
                [[ $# -ge 2 ]] || fail "$1 needs a value"
                case "$1" in
                    --duration) duration="$2" ;;
                    --connections) connections="$2" ;;
                    --threads) threads="$2" ;;
                    --ab-requests) ab_requests="$2" ;;
                    --ab-connections) ab_connections="$2" ;;
                    --fsync) policies="$2" ;;
                    --cores) cores="$2" ;;
                    --stored) stored="$2" ;;
                    --only) only="$2" ;;
                    *) fail "unknown option $1; see --help" ;;
                esac
                shift 2
                ;;
            *) fail "unknown argument $1; see --help" ;;
        esac
    done
    need ab wrk python3 awk
    # wrk refuses fewer connections than threads.
    if [[ "$threads" -gt "$connections" ]]; then
        threads="$connections"
    fi
    raise_open_files
    make_workspace
    binary="$(release_binary)"
    rows="$workspace/rows"
    : >"$rows"

    local policy first=yes
    for policy in $policies; do
        rm -rf "$workspace/data"
        start_server "$binary" --data-dir "$workspace/data" --fsync "$policy" ${cores:+--cores "$cores"}
        python3 "$root/scripts/documents.py" store-numbers "$server_address" "$stored" >/dev/null
        # Reads and equal documents write nothing: the policy does not matter to them.
        if [[ "$first" == yes ]]; then
            measure get-random - wrk_run get-random "$stored"
            measure get-pipelined - wrk_run get-pipelined "$stored"
            measure ab - ab_run
            measure post-same - wrk_run post-same
            first=
        fi
        measure post-distinct "$policy" wrk_run post-distinct 1
        measure mixed "$policy" wrk_run mixed "$stored"
        stop_server TERM
    done
    [[ $runs -gt 0 ]] || fail "no run is named $only; see --help"
    print_table
    [[ $failures -eq 0 ]] || fail "$failures runs had errors"
}

# Thousands of connections need as many descriptors here and in the server.
raise_open_files() {
    local most=$((connections > ab_connections ? connections : ab_connections))
    if [[ "$(ulimit -n)" != unlimited && "$(ulimit -n)" -lt $((most + 200)) ]]; then
        ulimit -n $((most + 200)) || fail "$most connections need more open files than 'ulimit -Hn' allows"
    fi
}

# measure NAME POLICY COMMAND...: runs COMMAND, which prints
# "requests requests/s p50_us p99_us errors", and adds a row with the CPU time.
measure() {
    local name="$1" policy="$2" before after result
    shift 2
    if [[ -n "$only" && "$only" != "$name" ]]; then
        return
    fi
    runs=$((runs + 1))
    printf '%s (fsync %s) ...\n' "$name" "$policy" >&2
    before="$(cpu_ticks)"
    result="$("$@")" || fail "$name did not run"
    after="$(cpu_ticks)"
    local requests rate p50 p99 errors
    read -r requests rate p50 p99 errors <<<"$result"
    [[ -n "$errors" && "$requests" -gt 0 ]] || fail "$name has no result: $result"
    if [[ "$errors" -ne 0 ]]; then
        failures=$((failures + 1))
    fi
    awk -v name="$name" -v policy="$policy" -v requests="$requests" -v rate="$rate" -v p50="$p50" -v p99="$p99" \
        -v errors="$errors" -v ticks="$((after - before))" -v hertz="$(getconf CLK_TCK)" \
        'BEGIN { printf "%s %s %.0f %.3f %.3f %d %.1f\n", name, policy, rate, p50 / 1000, p99 / 1000, errors, ticks * 1e6 / hertz / requests }' \
        >>"$rows"
}

# wrk_run SCRIPT ARGUMENT...
wrk_run() {
    local script="$1" output
    shift
    output="$(OXDAAS_WRK_SCRIPTS="$root/scripts/wrk" wrk --threads "$threads" --connections "$connections" \
        --duration "${duration}s" --timeout 10s --script "$root/scripts/wrk/$script.lua" \
        "http://$server_address" -- "$@")" || {
        printf '%s\n' "$output" >&2
        return 1
    }
    awk '
        $1 == "RESULT" {
            for (i = 2; i <= NF; i++) { split($i, pair, "="); value[pair[1]] = pair[2] }
            errors = value["status"] + value["connect"] + value["read"] + value["write"] + value["timeout"]
            if (value["duration_us"] > 0)
                printf "%d %f %d %d %d\n", value["requests"], value["requests"] * 1e6 / value["duration_us"], value["p50_us"], value["p99_us"], errors
        }' <<<"$output"
}

ab_run() {
    local output
    printf '{"id":1,"data":{"color":"blue"}}' >"$workspace/body.json"
    output="$(ab -q -n "$ab_requests" -c "$ab_connections" -k -T application/json -p "$workspace/body.json" \
        "http://$server_address/api" 2>&1)" || {
        printf '%s\n' "$output" >&2
        return 1
    }
    awk '
        /^Complete requests:/ { requests = $3 }
        /^Failed requests:/ { errors += $3 }
        /^Write errors:/ { errors += $3 }
        /^Non-2xx responses:/ { errors += $3 }
        /^Requests per second:/ { rate = $4 }
        /^ *50% / { p50 = $2 }
        /^ *99% / { p99 = $2 }
        END { printf "%d %f %d %d %d\n", requests, rate, p50 * 1000, p99 * 1000, errors }' <<<"$output"
}

print_table() {
    printf '%-15s %-9s %12s %9s %9s %7s %12s\n' run fsync requests/s 'p50 ms' 'p99 ms' errors 'CPU us/req'
    local name policy rate p50 p99 errors cpu
    while read -r name policy rate p50 p99 errors cpu; do
        printf '%-15s %-9s %12s %9s %9s %7s %12s\n' "$name" "$policy" "$rate" "$p50" "$p99" "$errors" "$cpu"
    done <"$rows"
    printf 'wrk: %s connections, %s threads, %s s a run; ab: %s requests, %s connections\n' \
        "$connections" "$threads" "$duration" "$ab_requests" "$ab_connections"
}

main "$@"
