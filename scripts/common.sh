# shellcheck shell=bash
# What the scripts share; sourced, not run.
#
# The caller sets `set -euo pipefail` and calls `make_workspace` first: a
# temporary directory that is removed, and a server that is stopped, however
# the script ends.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
workspace=
server_pid=
server_address=
server_output=
image=
build_options=()

# Says what is wrong and ends the script.
fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# Prints the header comment of the script, which is its usage.
usage() {
    sed -n '2,/^[^#]/{ s/^# \{0,1\}//p }' "$0"
}

# Creates the temporary directory and the trap that cleans up.
make_workspace() {
    workspace="$(mktemp -d)"
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# clean_up [STATUS]: ends the script with STATUS, or with the one that it had.
clean_up() {
    local status="${1:-$?}"
    trap - EXIT
    if [[ -n "$server_pid" ]]; then
        kill -KILL "$server_pid" 2>/dev/null || true
        wait "$server_pid" 2>/dev/null || true
    fi
    if [[ $status -ne 0 && -s "$workspace/stderr" ]]; then
        printf 'the server said:\n' >&2
        tail -n 20 "$workspace/stderr" >&2
    fi
    rm -rf "$workspace"
    exit "$status"
}

# Fails unless every command named is there.
need() {
    local command
    for command in "$@"; do
        command -v "$command" >/dev/null || fail "$command is missing; scripts/test.sh installs it when run as root"
    done
}

# Starts `$1 serve` with the other arguments on a free port of the loopback,
# and waits for the line that says it is ready. Sets server_pid and server_address.
start_server() {
    local binary="$1" line
    shift
    rm -f "$workspace/stdout"
    mkfifo "$workspace/stdout"
    "$binary" serve --listen 127.0.0.1:0 "$@" >"$workspace/stdout" 2>>"$workspace/stderr" &
    server_pid=$!
    exec {server_output}<"$workspace/stdout"
    read -r -t 60 -u "$server_output" line || fail "the server is not ready after 60 s, or has ended"
    [[ "$line" =~ listening\ on\ ([0-9.]+:[0-9]+) ]] || fail "not a ready line: $line"
    # shellcheck disable=SC2034 # The scripts that source this read it.
    server_address="${BASH_REMATCH[1]}"
}

# Ends the server with signal `$1`; after TERM it must report success.
stop_server() {
    local status=0
    kill "-$1" "$server_pid"
    # The shell would report the signal on standard error.
    wait "$server_pid" 2>/dev/null || status=$?
    server_pid=
    exec {server_output}<&-
    if [[ "$1" == TERM && $status -ne 0 ]]; then
        fail "the server ended with $status after SIGTERM"
    fi
}

# CPU time of the server in clock ticks: fields 14 and 15 of its stat line (proc(5)),
# counted behind the command name, which may hold spaces.
cpu_ticks() {
    local line fields
    line="$(<"/proc/$server_pid/stat")"
    read -r -a fields <<<"${line##*) }"
    printf '%s\n' "$((fields[11] + fields[12]))"
}

# Builds the release binary and prints its path, unless OXDAAS_BINARY names one.
release_binary() {
    if [[ -n "${OXDAAS_BINARY:-}" ]]; then
        printf '%s\n' "$OXDAAS_BINARY"
        return
    fi
    (cd "$root" && cargo build --release --quiet >&2) || return 1
    printf '%s/release/oxdaas\n' "${CARGO_TARGET_DIR:-$root/target}"
}

# Fails unless a Docker engine answers.
need_engine() {
    need docker
    docker version >/dev/null 2>&1 || fail "no Docker engine answers; 'docker version' says why"
}

# image_arguments NAME ARGUMENT...: reads the '[--tag NAME] [-- BUILD-OPTION...]' of a
# script that builds an image, and makes ready for `build_image`. Sets image and
# build_options, which may be added to.
image_arguments() {
    image="$1"
    shift
    while [[ $# -gt 0 && "$1" != -- ]]; do
        case "$1" in
            -h | --help)
                usage
                exit
                ;;
            --tag)
                [[ -n "${2:-}" ]] || fail "--tag needs a name"
                image="$2"
                shift 2
                ;;
            *) fail "unknown argument $1; see --help" ;;
        esac
    done
    build_options=("${@:2}")
    need_engine
    make_workspace
}

# `docker build` of this repository as $image, with build_options. A cargo configuration
# of the caller goes along; it ends with the stage that builds.
build_image() {
    local context="$workspace/context" file
    local configuration="${OXDAAS_CARGO_CONFIG-${CARGO_HOME:-$HOME/.cargo}/config.toml}"
    mkdir -p "$context"
    for file in .dockerignore Cargo.lock Cargo.toml Dockerfile LICENSE README.md benches scripts src; do
        cp -R "$root/$file" "$context/"
    done
    rm -f "$context/scripts/docker/tokens"
    if [[ -f "$configuration" ]]; then
        printf 'with the cargo configuration %s\n' "$configuration" >&2
        mkdir -p "$context/.cargo"
        cp "$configuration" "$context/.cargo/config.toml"
    fi
    docker build --tag "$image" "${build_options[@]}" "$context" >&2 || fail "the image was not built"
}

# Seconds since the epoch of what is released, so that a second build gives the same.
source_date() {
    local seconds="${SOURCE_DATE_EPOCH:-}"
    if [[ -z "$seconds" ]]; then
        # Where an image is built git is there by name alone, and says nothing.
        seconds="$(git -C "$root" log -1 --format=%ct 2>/dev/null || true)"
    fi
    printf '%s\n' "${seconds:-$(stat -c %Y "$root/Cargo.lock")}"
}
