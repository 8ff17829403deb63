#!/usr/bin/env bash
# Makes a bearer token and adds it to a file, as --token-file of the server wants it.
#
#   scripts/secret.sh FILE [rw|ro]    rw (may write) if not given; ro may only read
#
# The file is made when it is missing, and is yours alone to read (mode 600). The
# token, 256 random bits, is its last line and is printed nowhere. Clients read it
# from a file of their own: 'oxdaas console --token-file FILE' takes the first line.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
    case "${1:-}" in
        -h | --help)
            usage
            return
            ;;
        -*) fail "unknown option $1; see --help" ;;
        '') fail "say which file; see --help" ;;
    esac
    local file="$1" right="${2:-rw}" token
    [[ $# -le 2 && ( "$right" == rw || "$right" == ro ) ]] || fail "not a right: ${*:2}; it is rw or ro"
    [[ ! -e "$file" || -f "$file" ]] || fail "$file is no file"
    umask 077
    # Before the token is in it, and whatever it was before.
    touch "$file"
    chmod 600 "$file"
    token="$(head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n')"
    [[ ${#token} -eq 43 ]] || fail "/dev/urandom gave too little"
    # A last line without an end would swallow the token.
    if [[ -n "$(tail -c 1 "$file")" ]]; then
        printf '\n' >>"$file"
    fi
    printf '%s %s\n' "$token" "$right" >>"$file"
    printf 'added a token (%s) to %s, mode 600\n' "$right" "$file"
}

main "$@"
