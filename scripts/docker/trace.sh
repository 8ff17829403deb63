#!/usr/bin/env bash
# Finds out what the server calls, for the seccomp profile of its container.
#
#   scripts/docker/trace.sh            writes scripts/docker/seccomp.json anew
#   scripts/docker/trace.sh --check    fails if a call is missing in that file
#
# Runs the server under strace, with each --fsync and by TLS, and makes it do everything
# that it can do (scripts/docker/exercise.sh); has it read its files again; starts it after
# a clean end and after a kill; runs the commands that people run in its container.
# The profile holds for machines like this one (x86_64): on another kind, and after an
# upgrade of the C library or of a dependency, run it again. OXDAAS_BINARY names a
# binary to use instead of building one.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

profile="$root/scripts/docker/seccomp.json"
binary=

# Beside those: what the engine calls in the container after the filter is in place and
# before the server runs (runc 1.1 and later, crun); and what a trace does not count,
# because it does not return, or which ends a process that panics.
engine_calls="capget capset chdir close_range epoll_create1 epoll_ctl epoll_pwait execve faccessat2 fchdir
    fchown fcntl fstat fstatfs futex getcwd getdents64 getpid getppid newfstatat openat openat2 pipe2 prctl read
    readlinkat sched_yield setgid setgroups setuid statx umask write"
end_calls="exit exit_group gettid restart_syscall rt_sigaction rt_sigprocmask tgkill"

main() {
    local check=
    case "${1:-}" in
        '') ;;
        -h | --help)
            usage
            return
            ;;
        --check) check=yes ;;
        *) fail "unknown argument $1; see --help" ;;
    esac
    need strace python3 curl script openssl
    make_workspace
    binary="$(release_binary)"
    write_tracer
    export OXDAAS_DATA_DIR="$workspace/data" OXDAAS_TOKEN_FILE="$workspace/tokens" OXDAAS_TOKEN
    "$root/scripts/secret.sh" "$OXDAAS_TOKEN_FILE" >/dev/null
    OXDAAS_TOKEN="$(cut -d ' ' -f 1 "$OXDAAS_TOKEN_FILE")"
    local policy
    for policy in always everysec never; do
        rm -rf "$OXDAAS_DATA_DIR"
        serve_and_exercise "$policy" TERM
    done
    # What is there is read again, after a clean end and after none.
    serve_and_exercise always KILL
    serve_and_exercise always INT
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
        -keyout "$workspace/key.pem" -out "$workspace/cert.pem" 2>/dev/null
    export OXDAAS_TLS_CERT="$workspace/cert.pem" OXDAAS_TLS_KEY="$workspace/key.pem"
    OXDAAS_CA_FILE="$workspace/cert.pem" serve_and_exercise always TERM
    local command
    for command in doctor "check $OXDAAS_DATA_DIR" "export $OXDAAS_DATA_DIR" "dump $OXDAAS_DATA_DIR" \
        "repair $OXDAAS_DATA_DIR $workspace/repaired" status; do
        # What they have to say, and whether a server runs, does not matter here.
        # shellcheck disable=SC2086 # Words of a command.
        "$workspace/traced" $command >/dev/null 2>&1 || true
    done
    calls >"$workspace/calls"
    if [[ -n "$check" ]]; then
        check_profile
    else
        write_profile
    fi
}

# The command that people run, under strace; its calls go to a file of each process.
write_tracer() {
    printf '#!/bin/sh\nexec strace -f -c -U name -o "%s/trace.$$" "%s" "$@"\n' "$workspace" "$binary" \
        >"$workspace/traced"
    chmod +x "$workspace/traced"
}

# serve_and_exercise POLICY SIGNAL: one life of a server, ended by SIGNAL; by TLS when
# OXDAAS_CA_FILE is set.
serve_and_exercise() {
    local server scheme=http
    if [[ -n "${OXDAAS_CA_FILE:-}" ]]; then
        export OXDAAS_CA_FILE
        scheme=https
    fi
    printf '%s, fsync %s, until SIG%s ...\n' "$scheme" "$1" "$2" >&2
    start_server "$workspace/traced" --data-dir "$OXDAAS_DATA_DIR" --fsync "$1" --segment-bytes 1048576 \
        --log-format json --access-log "$workspace/access.log"
    local -x OXDAAS_URL="$scheme://$server_address"
    "$root/scripts/docker/exercise.sh" "$OXDAAS_URL" "$workspace/traced"
    rm -rf "$workspace/copy"
    "$workspace/traced" backup "$workspace/copy" >/dev/null
    # As people use it, in a terminal, where what is typed before it listens is lost.
    for _ in {1..30}; do
        sleep 1
        printf 'quit\n'
    done | HOME="$workspace" script --quiet --command "$workspace/traced console" /dev/null >/dev/null || true
    # The tracer is the child, the server is named in its lock file.
    server="$(head -n 1 "$OXDAAS_DATA_DIR/LOCK")"
    # It opens the access log anew, and reads the other files while it is asked how it is.
    mv "$workspace/access.log" "$workspace/access.old"
    kill -HUP "$server"
    local deadline=$((SECONDS + 60))
    until [[ -e "$workspace/access.log" ]]; do
        ((SECONDS < deadline)) || fail "the access log is not opened anew on SIGHUP"
    done
    "$workspace/traced" healthcheck >/dev/null
    kill "-$2" "$server"
    wait "$server_pid" 2>/dev/null || [[ "$2" == KILL ]] || fail "the server did not end well after SIG$2"
    server_pid=
    exec {server_output}<&-
}

# Every call that was traced, one a line.
calls() {
    cat "$workspace"/trace.* | grep -E '^[a-z][a-z0-9_]*$' | grep -vxE 'syscall|total' | LC_ALL=C sort -u
}

write_profile() {
    # shellcheck disable=SC2086 # Words of a list.
    python3 - "$workspace/calls" "$engine_calls" "$end_calls" >"$workspace/profile" <<'PYTHON'
import json, sys

server = open(sys.argv[1]).read().split()

def group(comment, names):
    return {"comment": comment, "names": sorted(set(names)), "action": "SCMP_ACT_ALLOW"}

engine = [name for name in sys.argv[2].split() if name not in server]
end = [name for name in sys.argv[3].split() if name not in server + engine]
profile = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 1,
    "architectures": ["SCMP_ARCH_X86_64"],
    "syscalls": [
        group("What the server and its commands call, as scripts/docker/trace.sh has found out.", server),
        group("What the container engine calls before the server runs.", engine),
        group("How a process ends, which a trace does not count.", end),
    ],
}
profile["syscalls"] = [group for group in profile["syscalls"] if group["names"]]
print(json.dumps(profile, indent=2))
PYTHON
    cp "$workspace/profile" "$profile"
    printf '%s: %d calls of the server\n' "$profile" "$(wc -l <"$workspace/calls")"
}

check_profile() {
    local missing
    missing="$(python3 - "$profile" "$workspace/calls" <<'PYTHON'
import json, sys

allowed = {name for group in json.load(open(sys.argv[1]))["syscalls"] for name in group["names"]}
print(*sorted(set(open(sys.argv[2]).read().split()) - allowed))
PYTHON
    )"
    [[ -z "$missing" ]] || fail "not in $profile: $missing; run scripts/docker/trace.sh"
    printf 'every call of the server is in the profile (%d)\n' "$(wc -l <"$workspace/calls")"
}

main "$@"
