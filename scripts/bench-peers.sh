#!/usr/bin/env bash
# Measures OxDaaS beside what a user would pick instead, and beside the floor:
# Redis with Webdis, nginx with a constant answer, a bare epoll responder.
#
#   scripts/bench-peers.sh [OPTION...]
#
#   --quick            a minute instead of a quarter of an hour: short runs, few documents;
#                      shows that everything works, the figures mean little
#   --chart FILE       where the bar chart goes (default benches/peers/chart.svg)
#   --table FILE       where the tables go as well, as Markdown
#   --only WORD        only the parts whose name contains WORD:
#                      load, resp, memory, idle, open-loop
#
# All servers run at the same time on loopback and temporary directories; runs of
# one workload follow each other server by server, in three rounds, and the tables
# show medians. CPU is what /proc says of all processes of a server. A bar that is
# not met is printed as such and does not fail the script; a wrong answer does.
# As root it installs the Debian packages that are missing; a peer whose package
# cannot be had is left out, and said so. OXDAAS_BINARY and OXDAAS_FLOOR name
# binaries to use instead of building them.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
    local argument
    for argument in "$@"; do
        if [[ "$argument" == -h || "$argument" == --help ]]; then
            usage
            return
        fi
        # Before anything is built: the header lists every option.
        if [[ "$argument" == -* ]] && ! usage | grep -qE -- " $argument( |$)"; then
            fail "unknown option $argument; see --help"
        fi
    done
    packages
    need wrk python3
    make_workspace
    local binary floor
    binary="$(release_binary)"
    floor="$(release_floor)"
    # A thousand idle connections, and as many in the server.
    if [[ "$(ulimit -n)" != unlimited && "$(ulimit -n)" -lt 4096 ]]; then
        ulimit -n 4096 || fail "idle connections need more open files than 'ulimit -Hn' allows"
    fi
    python3 "$root/scripts/peers/main.py" --binary "$binary" --floor "$floor" --workspace "$workspace" "$@"
}

# Prints the path of the floor, built with the same profile as the server.
release_floor() {
    if [[ -n "${OXDAAS_FLOOR:-}" ]]; then
        printf '%s\n' "$OXDAAS_FLOOR"
        return
    fi
    (cd "$root" && cargo build --release --quiet --example floor >&2) || return 1
    printf '%s/release/examples/floor\n' "${CARGO_TARGET_DIR:-$root/target}"
}

# Installs what is missing, if that is possible; peers are left out otherwise.
packages() {
    local missing=() pair
    for pair in wrk:wrk python3:python3 redis-server:redis-server redis-benchmark:redis-tools webdis:webdis \
        nginx:nginx-light h2load:nghttp2-client; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    if [[ ${#missing[@]} -eq 0 ]]; then
        return
    fi
    if [[ "$(id -u)" -ne 0 ]] || ! command -v apt-get >/dev/null; then
        printf 'not measured without root: apt-get install %s\n' "${missing[*]}" >&2
        return
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2
    local package
    for package in "${missing[@]}"; do
        apt-get install -y -qq --no-install-recommends "$package" >&2 ||
            printf 'not measured, the package cannot be had: %s\n' "$package" >&2
    done
}

main "$@"
