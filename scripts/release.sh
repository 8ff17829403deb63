#!/usr/bin/env bash
# Makes the release tarball: the binary and all that an operator needs with it.
#
#   scripts/release.sh [--output DIR]
#
#   --output DIR    where to put it (default target/dist)
#
# It writes DIR/oxdaas-VERSION-MACHINE-linux.tar.gz, the same unpacked beside it,
# and a .sha256 file. OXDAAS_BINARY names a binary to pack instead of building one.
# The binary needs a C library at least as new as that of the machine that builds
# it; scripts/docker.release.sh builds on Debian 12, for Debian 12 and later.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

output=

main() {
    while [[ $# -gt 0 ]]; do
        case "$1" in
            -h | --help)
                usage
                return
                ;;
            --output)
                [[ -n "${2:-}" ]] || fail "--output needs a directory"
                output="$2"
                shift 2
                ;;
            *) fail "unknown argument $1; see --help" ;;
        esac
    done
    need tar gzip sha256sum
    output="${output:-${CARGO_TARGET_DIR:-$root/target}/dist}"
    local binary version name tree
    binary="$(release_binary)"
    version="$("$binary" --version | awk '{ print $2 }')"
    name="oxdaas-$version-$(uname -m)-linux"
    mkdir -p "$output"
    output="$(cd "$output" && pwd)"
    tree="$output/$name"
    rm -rf "$tree"
    fill "$binary" "$tree"

    # The same files give the same tarball: names sorted, no owners, one time.
    tar -C "$output" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(source_date)" \
        --format=ustar -cf - "$name" | gzip -n >"$tree.tar.gz"
    (cd "$output" && sha256sum "$name.tar.gz" >"$name.tar.gz.sha256")
    printf '%s\n' "$tree.tar.gz"
}

# fill BINARY TREE: lays out the release.
fill() {
    local binary="$1" tree="$2"
    install -d "$tree/bin" "$tree/systemd" "$tree/share"
    install -m 755 "$binary" "$tree/bin/oxdaas"
    # Where the source lines are is a matter of developers; names stay for stack traces.
    if command -v strip >/dev/null; then
        strip --strip-debug "$tree/bin/oxdaas"
    fi
    install -m 755 "$root/scripts/install.sh" "$tree/install.sh"
    install -m 644 "$root/scripts/systemd/oxdaas.service" "$root/scripts/systemd/oxdaas.env" "$tree/systemd/"
    install -m 644 "$root/README.md" "$root/LICENSE" "$tree/"
    "$binary" generate "$tree/share"
    local files
    files="$(cd "$tree" && find . -type f -printf '%P\n' | LC_ALL=C sort)"
    (cd "$tree" && xargs -d '\n' sha256sum <<<"$files" >SHA256SUMS)
}

main "$@"
