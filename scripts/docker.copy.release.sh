#!/usr/bin/env bash
# Brings the release tarball out of the image that scripts/docker.release.sh made.
#
#   scripts/docker.copy.release.sh [--tag NAME] [--output DIR]
#
#   --tag NAME      the image (default oxdaas-release)
#   --output DIR    where to put the tarball (default target/dist)
#
# It writes DIR/oxdaas-VERSION-MACHINE-linux.tar.gz and a .sha256 file, and prints
# the path of the first.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

image=oxdaas-release

main() {
    local output="${CARGO_TARGET_DIR:-$root/target}/dist" container copied=yes tarball
    while [[ $# -gt 0 ]]; do
        case "$1" in
            -h | --help)
                usage
                return
                ;;
            --tag)
                [[ -n "${2:-}" ]] || fail "--tag needs a name"
                image="$2"
                shift 2
                ;;
            --output)
                [[ -n "${2:-}" ]] || fail "--output needs a directory"
                output="$2"
                shift 2
                ;;
            *) fail "unknown argument $1; see --help" ;;
        esac
    done
    need sha256sum
    need_engine
    docker image inspect "$image" >/dev/null 2>&1 || fail "there is no image $image; scripts/docker.release.sh makes it"
    make_workspace
    # Never started: files are copied out of it.
    container="$(docker create "$image" none)"
    docker cp "$container:/release" "$workspace/release" >/dev/null || copied=
    docker rm "$container" >/dev/null
    [[ -n "$copied" ]] || fail "$image has no /release; scripts/docker.release.sh makes it anew"
    tarball="$(cd "$workspace/release" && echo oxdaas-*-linux.tar.gz)"
    (cd "$workspace/release" && sha256sum --check --quiet "$tarball.sha256") || fail "$tarball is not what was packed"
    mkdir -p "$output"
    mv "$workspace/release/$tarball" "$workspace/release/$tarball.sha256" "$output/"
    printf '%s/%s\n' "$(cd "$output" && pwd)" "$tarball"
}

main "$@"
