#!/usr/bin/env bash
# Makes a dated tarball of a backup of a running server.
#
#   scripts/archive.sh [DIR] [-- OPTION...]
#
#   DIR          where to put it (default: here); while it works it needs room there
#                for the data and the tarball together
#   OPTION...    as 'oxdaas backup' takes them: --url URL, --token-file FILE
#
# It writes DIR/oxdaas-YYYYMMDDTHHMMSSZ.tar.gz and prints its path. The tarball has
# its name only once it is on disk and what is in it was unpacked and read whole by
# 'oxdaas check'. To restore: unpack it, and start 'oxdaas serve --data-dir' on the
# directory in it. OXDAAS_BINARY names a binary to use in place of the one in PATH.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
    local home=.
    case "${1:-}" in
        -h | --help)
            usage
            return
            ;;
        --) ;;
        -*) fail "unknown option $1; those of 'oxdaas backup' come after --, see --help" ;;
        '') shift $(($# > 0)) ;;
        *)
            home="$1"
            shift
            ;;
    esac
    [[ $# -eq 0 || "$1" == -- ]] || fail "unknown argument $1; see --help"
    shift $(($# > 0))
    need tar gzip
    [[ -d "$home" ]] || fail "$home is no directory"
    home="$(cd "$home" && pwd)"
    local binary name
    binary="$(any_binary)"
    name="oxdaas-$(date -u +%Y%m%dT%H%M%SZ)"
    # Not in /tmp, which may be small or in memory.
    TMPDIR="$home" make_workspace

    "$binary" backup "$@" "$workspace/$name" >&2
    tar -C "$workspace" --owner=0 --group=0 --numeric-owner -czf "$workspace/$name.tar.gz" "$name"
    rm -rf "${workspace:?}/$name"
    tar -C "$workspace" -xzf "$workspace/$name.tar.gz"
    "$binary" check "$workspace/$name" >/dev/null || fail "what the tarball holds is not whole"
    sync "$workspace/$name.tar.gz"
    mv -n "$workspace/$name.tar.gz" "$home/"
    [[ ! -e "$workspace/$name.tar.gz" ]] || fail "$home/$name.tar.gz exists already"
    sync "$home"
    printf '%s\n' "$home/$name.tar.gz"
}

# The binary that the user has, else one that is built.
any_binary() {
    if [[ -z "${OXDAAS_BINARY:-}" ]] && command -v oxdaas; then
        return
    fi
    release_binary
}

main "$@"
