#!/usr/bin/env bash
# Tests the container: builds the image and a release, runs it under its own seccomp
# profile and under load, and sees that its volume survives.
#
#   scripts/docker-test.sh [--release]
#
#   --release    build as users do; without it the compiler optimizes less, which
#                takes a third of the time
#
# Needs root and a Docker engine, and says so where there is none. Base images that
# are not there are made from Debian's packages and this machine's Rust, under the
# names that the Dockerfile uses. Whatever it made is removed at its end.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

name="oxdaas-test-$$"
images=()
url=
# An engine without the right to raise limits gives what it has.
memlock="$((8 << 20))"

main() {
    local release=
    case "${1:-}" in
        '') ;;
        -h | --help)
            usage
            return
            ;;
        --release) release=yes ;;
        *) fail "unknown argument $1; see --help" ;;
    esac
    docker version >/dev/null 2>&1 || skip "no Docker engine answers here"
    [[ "$(id -u)" -eq 0 ]] || skip "it makes its base images as root"
    need debootstrap rustc wrk curl openssl python3 sha256sum
    make_workspace
    trap remove_all EXIT
    base_images
    build "$release"
    "$root/scripts/secret.sh" "$workspace/tokens" >/dev/null
    OXDAAS_TOKEN="$(cut -d ' ' -f 1 "$workspace/tokens")"
    export OXDAAS_TOKEN
    chown 65532 "$workspace/tokens"
    run_under_the_profile
    survive
    run_by_tls
    refuse
    compose
    printf 'the container works\n'
}

skip() {
    printf 'skipped: %s\n' "$*"
    exit 0
}

# say WHAT: what comes next, with the seconds until here.
say() {
    printf '%4d s  %s\n' "$SECONDS" "$*"
}

# Ends and removes what was made here, whatever of it there is, and then the workspace.
remove_all() {
    local status=$? image
    docker ps --all --quiet --filter "name=^$name" | xargs -r docker rm --force --volumes >/dev/null 2>&1 || true
    docker volume ls --quiet --filter "name=^$name" | xargs -r docker volume rm >/dev/null 2>&1 || true
    docker network ls --quiet --filter "name=^$name" | xargs -r docker network rm >/dev/null 2>&1 || true
    for image in "${images[@]}" $(layers); do
        docker rmi "$image" >/dev/null 2>&1 || true
    done
    clean_up "$status"
}

# The layers that the builds left, the last first, without those that have a name.
layers() {
    local layer
    for layer in $(grep -oE '^ ---> [0-9a-f]{12}$' "$workspace/build.log" | tac | cut -c 7-); do
        if [[ "$(docker image inspect --format '{{len .RepoTags}}' "$layer" 2>/dev/null)" == 0 ]]; then
            printf '%s\n' "$layer"
        fi
    done
}

# Makes those images that the Dockerfile begins with and that are not there.
base_images() {
    local image tree="$workspace/tree"
    # Debian first: Rust is added to the same tree.
    for image in debian:bookworm-slim rust:1.95-slim-bookworm; do
        grep -q "^FROM $image" "$root/Dockerfile" || fail "the Dockerfile does not begin with $image any more"
        if docker image inspect "$image" >/dev/null 2>&1; then
            continue
        fi
        say "making $image"
        if [[ ! -d "$tree" ]]; then
            debootstrap --variant=minbase bookworm "$tree" >"$workspace/debootstrap.log" 2>&1 ||
                fail "debootstrap: $(tail -n 3 "$workspace/debootstrap.log")"
        fi
        if [[ "$image" == rust:* ]]; then
            add_rust "$tree" "${image#rust:}"
        fi
        images+=("$image")
        # As small as the images of that name are.
        tar -C "$tree" --exclude='./var/lib/apt/lists/*' --exclude='./var/cache/apt/*' --exclude='./usr/share/doc/*' \
            --exclude='./usr/share/locale/*' --exclude='./usr/share/man/*' -c . | docker import --change 'ENV PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$image" >/dev/null
    done
}

# add_rust TREE TAG: the toolchain of this machine, what it links with, and the
# certificates that this machine trusts.
add_rust() {
    local tree="$1" version="${2%%-*}" toolchain
    toolchain="$(cd "$root" && rustc --print sysroot)"
    [[ "$(rustc --version)" == "rustc $version."* ]] ||
        fail "the Dockerfile wants Rust $version, and here is $(rustc --version)"
    cp /etc/resolv.conf "$tree/etc/resolv.conf"
    DEBIAN_FRONTEND=noninteractive chroot "$tree" \
        apt-get install -y -qq --no-install-recommends gcc libc6-dev ca-certificates >"$workspace/apt.log" 2>&1 ||
        fail "apt-get: $(tail -n 3 "$workspace/apt.log")"
    cp /etc/ssl/certs/ca-certificates.crt "$tree/etc/ssl/certs/ca-certificates.crt"
    mkdir -p "$tree/usr/local/rust/lib/rustlib"
    cp -R "$toolchain/bin" "$tree/usr/local/rust/"
    cp -R "$toolchain"/lib/*.so* "$tree/usr/local/rust/lib/"
    cp -R "$toolchain/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')" "$tree/usr/local/rust/lib/rustlib/"
}

# build RELEASE: the image and, out of the same layers, a release tarball.
build() {
    local configuration="${OXDAAS_CARGO_CONFIG-${CARGO_HOME:-$HOME/.cargo}/config.toml}" tarball
    if [[ -z "$1" ]]; then
        {
            if [[ -f "$configuration" ]]; then
                cat "$configuration"
            fi
            printf '\n[profile.release]\nlto = "off"\ncodegen-units = 16\nopt-level = 1\ndebug = false\n'
        } >"$workspace/cargo.toml"
        export OXDAAS_CARGO_CONFIG="$workspace/cargo.toml"
    fi
    say "building the release"
    images+=("$name-release")
    "$root/scripts/docker.release.sh" --tag "$name-release" -- --force-rm >"$workspace/build.log" 2>&1 ||
        fail "docker.release.sh: $(tail -n 20 "$workspace/build.log")"
    tarball="$("$root/scripts/docker.copy.release.sh" --tag "$name-release" --output "$workspace")"
    tar -C "$workspace" -xzf "$tarball"
    (cd "${tarball%.tar.gz}" && sha256sum --check --quiet SHA256SUMS) || fail "the tarball is not whole"
    [[ "$("${tarball%.tar.gz}/bin/oxdaas" --version)" == 'oxdaas '* ]] || fail "the binary of the release does not run"
    say "building the image"
    images+=("$name")
    "$root/scripts/prod.sh" --tag "$name" -- --force-rm >>"$workspace/build.log" 2>&1 ||
        fail "prod.sh: $(tail -n 20 "$workspace/build.log")"
    [[ "$(tail -n 6 "$workspace/build.log")" == *'docker compose up'* ]] || fail "prod.sh does not say what to do next"
}

# run_server OPTION...: the server in the container $name, closed as compose.yaml has it.
run_server() {
    docker run --detach --name "$name" --volume "$name:/data" --publish 127.0.0.1::4000 \
        --volume "$workspace/tokens:/run/tokens:ro" --env OXDAAS_TOKEN_FILE=/run/tokens \
        --read-only --cap-drop ALL --security-opt no-new-privileges \
        --security-opt "seccomp=$root/scripts/docker/seccomp.json" \
        --ulimit "memlock=$memlock" \
        --health-interval 1s --health-timeout 5s --health-retries 2 \
        --env OXDAAS_SEGMENT_BYTES=1048576 "$@" "$name" >/dev/null
    await_health healthy
    url="http://$(docker port "$name" 4000/tcp)"
}

# await_health STATE: until the engine says so of the container $name.
await_health() {
    local deadline=$((SECONDS + 120)) state=
    until [[ "$state" == "$1" ]]; do
        state="$(docker inspect --format '{{.State.Health.Status}}' "$name")"
        if ((SECONDS >= deadline)); then
            docker logs "$name" >&2
            docker inspect --format '{{range .State.Health.Log}}{{.Output}}{{end}}' "$name" >&2
            fail "the container is $state after two minutes, not $1"
        fi
    done
}

run_under_the_profile() {
    local process status
    say "running under the profile"
    run_server
    process="$(docker inspect --format '{{.State.Pid}}' "$name")"
    status="$(<"/proc/$process/status")"
    grep -qE '^Uid:\s65532\s' <<<"$status" || fail "the server runs as another user: $status"
    grep -qE '^CapEff:\s0+$' <<<"$status" || fail "the server has capabilities: $status"
    grep -qE '^Seccomp:\s2$' <<<"$status" || fail "the server has no filter: $status"
    "$root/scripts/docker/exercise.sh" "$url" docker exec --interactive "$name" oxdaas
    say "load"
    load
    # A process that hangs is noticed.
    kill -STOP "$process"
    await_health unhealthy
    kill -CONT "$process"
    await_health healthy
}

# Half reads and half writes for two seconds; every answer must be a 2xx, and there must be
# many. (wrk waits for the body that a HEAD does not have.)
load() {
    local result requests
    cat >"$workspace/load.lua" <<'LUA'
package.path = os.getenv("OXDAAS_WRK_SCRIPTS") .. "/?.lua;" .. package.path
local report = require("report")
setup = report.setup()
done = report.done
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("OXDAAS_TOKEN")

function request()
  local target = "/docs/load-" .. math.random(100)
  if math.random(2) == 1 then
    return wrk.format("PUT", target, nil, '{"color":"blue"}')
  end
  return wrk.format("GET", "/docs/exercise")
end
LUA
    result="$(OXDAAS_WRK_SCRIPTS="$root/scripts/wrk" wrk --threads 2 --connections 32 --duration 2s --timeout 10s \
        --script "$workspace/load.lua" "$url" | grep '^RESULT')"
    printf '        %s\n' "$result"
    [[ "$result" == *"status=0 connect=0 read=0 write=0 timeout=0" ]] || fail "the load had errors"
    requests="${result#RESULT requests=}"
    ((${requests%% *} >= 1000)) || fail "the load is none"
}

# request OPTION... URL: one that shows the token, and must be answered with a 2xx.
request() {
    curl --silent --show-error --fail --header "Authorization: Bearer $OXDAAS_TOKEN" "$@"
}

# A document outlives its container, which ends well.
survive() {
    local document='{"kept":"in the volume"}' said
    say "stopping, and starting another on the volume"
    request -X PUT --data "$document" -H 'Content-Type: application/json' --output /dev/null "$url/docs/kept"
    docker stop --time 60 "$name" >/dev/null
    # Not through a pipe that ends at the first match: what writes to it would fail then.
    said="$(docker logs "$name" 2>&1)"
    [[ "$(docker inspect --format '{{.State.ExitCode}}' "$name")" == 0 ]] || fail "it did not end well: $said"
    [[ "$said" == *draining* ]] || fail "it did not drain: $said"
    docker rm "$name" >/dev/null
    run_server
    [[ "$(request "$url/docs/kept")" == "$document" ]] || fail "the volume has lost a document"
    docker rm --force "$name" >/dev/null
}

# With a certificate, under the same profile, and the engine finds it well.
run_by_tls() {
    local cert="$workspace/cert.pem" key="$workspace/key.pem"
    say "running by TLS"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE \
        -keyout "$key" -out "$cert" 2>/dev/null
    chown 65532 "$key"
    run_server --volume "$cert:/run/cert.pem:ro" --volume "$key:/run/key.pem:ro" \
        --env OXDAAS_TLS_CERT=/run/cert.pem --env OXDAAS_TLS_KEY=/run/key.pem
    request --cacert "$cert" --output /dev/null "https://localhost:${url##*:}/docs/kept"
    docker rm --force "$name" >/dev/null
}

# Where something is missing, the server says so and ends with 1.
refuse() {
    say "running where io_uring or memory is refused"
    printf '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["io_uring_setup","io_uring_enter","io_uring_register"],"action":"SCMP_ACT_ERRNO","errnoRet":1}]}\n' \
        >"$workspace/refuse.json"
    refused 'io_uring is refused (EPERM)' --security-opt "seccomp=$workspace/refuse.json" --ulimit "memlock=$memlock"
    refused 'the limit of locked memory is 65536 bytes' --ulimit memlock=65536 \
        --security-opt "seccomp=$root/scripts/docker/seccomp.json"
}

# refused SENTENCE OPTION...
refused() {
    local sentence="$1" said status=0
    shift
    said="$(docker run --rm --name "$name" "$@" "$name" 2>&1)" || status=$?
    [[ $status -eq 1 && "$said" == *"$sentence"* ]] || fail "expected '$sentence' and 1, not $status: $said"
}

# The file as the README has it, with either of the commands that take it.
compose() {
    local command
    if docker compose version >/dev/null 2>&1; then
        command=(docker compose)
    elif command -v docker-compose >/dev/null; then
        command=(docker-compose)
    else
        say "not tested: there is no Docker Compose here"
        return
    fi
    say "running with ${command[*]}"
    command+=(--project-name "$name")
    export OXDAAS_IMAGE="$name" OXDAAS_PORT=0 OXDAAS_TOKENS="$workspace/tokens" OXDAAS_MEMLOCK="$memlock"
    (cd "$root/scripts/docker" && "${command[@]}" up --detach) >"$workspace/compose.log" 2>&1 ||
        fail "compose: $(<"$workspace/compose.log")"
    name="$(docker ps --filter "name=^$name" --format '{{.Names}}')" await_health healthy
    (cd "$root/scripts/docker" && "${command[@]}" down --volumes) >"$workspace/compose.log" 2>&1 ||
        fail "compose: $(<"$workspace/compose.log")"
}

main "$@"
