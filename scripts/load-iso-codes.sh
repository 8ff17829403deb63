#!/usr/bin/env bash
# Stores real records in OxDaaS and compares what comes back, byte for byte.
#
#   scripts/load-iso-codes.sh [ADDR:PORT]    a running server (default 127.0.0.1:4000)
#   scripts/load-iso-codes.sh --serve        a server of its own on a temporary
#                                            directory; it is killed with SIGKILL
#                                            half way, and must still have all
#
# The records are those of Debian's package iso-codes, about 14,000 with names in
# many scripts. Each is stored as the document FILE-KEY:CODE, such as 3166-1:AND,
# and read back over both faces as JSON text without insignificant white space.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

directory=/usr/share/iso-codes/json

main() {
    case "${1:-}" in
        -h | --help)
            usage
            return
            ;;
        --serve) ;;
        -*) fail "unknown option $1; see --help" ;;
    esac
    [[ $# -le 1 ]] || fail "one argument at most; see --help"
    need python3
    [[ -d "$directory" ]] || fail "$directory is missing; it is in the Debian package iso-codes"
    if [[ "${1:-}" != --serve ]]; then
        documents store-iso-codes "${1:-127.0.0.1:4000}"
        documents compare-iso-codes "${1:-127.0.0.1:4000}"
        return
    fi
    make_workspace
    local binary
    binary="$(release_binary)"
    start_server "$binary" --data-dir "$workspace/data"
    documents store-iso-codes "$server_address"
    documents compare-iso-codes "$server_address"
    stop_server KILL
    start_server "$binary" --data-dir "$workspace/data"
    documents compare-iso-codes "$server_address"
    stop_server TERM
}

documents() {
    python3 "$root/scripts/documents.py" "$1" "$2" "$directory"
}

main "$@"
