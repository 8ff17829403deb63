#!/usr/bin/env bash
# Passes every test of OxDaaS, from formatting to a load test of two seconds.
#
#   scripts/test.sh            all tests; takes a few minutes
#   scripts/test.sh --long     more rounds of the crash and model tests, and load
#                              at 1, 64, 500 and 5,000 connections, a short
#                              comparison with other servers, and the container
#                              where there is a Docker engine
#
# It needs a Rust toolchain with rustfmt and clippy, and a few Debian packages.
# As root it installs those that are missing; otherwise it says which they are.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

long=

main() {
    case "${1:-}" in
        '') ;;
        --long) long=yes ;;
        -h | --help)
            usage
            return
            ;;
        *) fail "unknown argument $1; see --help" ;;
    esac
    cd "$root"
    packages
    need cargo
    cargo fmt --version >/dev/null 2>&1 || fail "rustfmt is missing: rustup component add rustfmt"
    cargo clippy --version >/dev/null 2>&1 || fail "clippy is missing: rustup component add clippy"
    # Whatever a test leaves behind when it is killed goes with the workspace.
    make_workspace
    export TMPDIR="$workspace"

    step "formatting" cargo fmt --check
    step "lints" cargo clippy --all-targets --quiet -- -D warnings
    # Advisories want their database from the net: 'cargo deny check' by hand asks for those.
    if cargo deny --version >/dev/null 2>&1; then
        step "dependencies" cargo deny check bans licenses sources
    fi
    if [[ -n "$long" ]]; then
        export OXDAAS_TEST_ROUNDS="${OXDAAS_TEST_ROUNDS:-40}"
    fi
    if cargo nextest --version >/dev/null 2>&1; then
        step "tests" cargo nextest run --no-fail-fast
        step "documentation tests" cargo test --doc --quiet
    else
        step "tests" cargo test --no-fail-fast
    fi

    step "release build" cargo build --release --quiet
    step "hostile clients" hostile_clients
    step "dashboard" scripts/dashboard-test.sh
    step "real input" scripts/load-iso-codes.sh --serve
    if [[ -z "$long" ]]; then
        step "description" scripts/openapi-test.sh
        step "load" scripts/bench.sh --duration 2 --ab-requests 20000 --fsync always
        step "import and export" scripts/bench-bulk.sh 100000
    else
        step "description" scripts/openapi-test.sh 500
        local connections
        for connections in 1 64 500 5000; do
            step "load, $connections connections" scripts/bench.sh \
                --connections "$connections" --ab-connections "$connections"
        done
        step "import and export" scripts/bench-bulk.sh
        step "system calls of the container's profile" scripts/docker/trace.sh --check
        step "container" scripts/docker-test.sh
        step "peers" scripts/bench-peers.sh --quick --chart "$workspace/chart.svg"
    fi
    printf '\nall passed in %s s\n' "$SECONDS"
}

hostile_clients() {
    OXDAAS_BINARY="$(release_binary)" cargo test --quiet --test hostile
}

# step NAME COMMAND...: runs COMMAND and says how long it took.
step() {
    local name="$1" started=$SECONDS
    shift
    printf '\n== %s\n' "$name"
    "$@" || fail "failed: $name ($*)"
    printf '== %s: passed in %s s\n' "$name" "$((SECONDS - started))"
}

# Installs or names the Debian packages that are missing.
packages() {
    local missing=() pair
    for pair in cc:gcc ip:iproute2 unshare:util-linux curl:curl debootstrap:debootstrap jq:jq openssl:openssl wrk:wrk ab:apache2-utils python3:python3 node:nodejs mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs shellcheck:shellcheck strace:strace systemd-analyze:systemd escript:erlang-base chromium:chromium chromedriver:chromium-driver ssh:openssh-client /usr/sbin/sshd:openssh-server; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
    [[ -d /usr/share/iso-codes/json ]] || missing+=(iso-codes)
    if [[ ${#missing[@]} -eq 0 ]]; then
        return
    fi
    # gcc without recommendations comes without the C library's headers.
    if [[ " ${missing[*]} " == *" gcc "* ]]; then
        missing+=(libc6-dev)
    fi
    if [[ "$(id -u)" -ne 0 ]] || ! command -v apt-get >/dev/null; then
        fail "missing Debian packages: apt-get install ${missing[*]}"
    fi
    step "packages" install_packages "${missing[@]}"
}

install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"
}

main "$@"
