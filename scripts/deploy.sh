#!/usr/bin/env bash
# Copies a release to a machine and installs it there, over ssh.
#
#   scripts/deploy.sh [OPTION...] USER@HOST [-- INSTALL-OPTION...]
#
#   -p PORT            port of the ssh server
#   -i FILE            private key
#   -o OPTION          as ssh takes it; may be given several times
#   --tarball FILE     deploy this tarball instead of making one (scripts/release.sh)
#
# What follows -- goes to install.sh there, as --no-start or --uninstall. Unless
# USER is root, sudo must work there without a password. The machine needs tar,
# gzip and the same C library as this one, or a later one. What is installed answers
# its own machine alone until /etc/oxdaas/oxdaas.env there names tokens and an address.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

options=()
target=
tarball=

main() {
    while [[ $# -gt 0 && "$1" != -- ]]; do
        case "$1" in
            -h | --help)
                usage
                return
                ;;
            -p | -i | -o)
                [[ -n "${2:-}" ]] || fail "$1 needs a value"
                options+=("$1" "$2")
                shift
                ;;
            --tarball)
                [[ -n "${2:-}" ]] || fail "--tarball needs a file"
                tarball="$2"
                shift
                ;;
            -*) fail "unknown option $1; see --help" ;;
            *)
                [[ -z "$target" ]] || fail "one USER@HOST at a time; see --help"
                target="$1"
                ;;
        esac
        shift
    done
    [[ -n "$target" ]] || fail "say where to: USER@HOST; see --help"
    if [[ "${1:-}" == -- ]]; then
        shift
    fi
    need ssh sha256sum
    if [[ -z "$tarball" ]]; then
        tarball="$("$root/scripts/release.sh")"
    fi
    [[ -f "$tarball" ]] || fail "$tarball is no file"

    local name sum arguments=
    name="$(basename "$tarball")"
    sum="$(sha256sum "$tarball" | cut -d ' ' -f 1)"
    if [[ $# -gt 0 ]]; then
        printf -v arguments ' %q' "$@"
    fi
    printf 'copying %s to %s\n' "$name" "$target"
    # One connection: the tarball on standard input, the script as the command. Nothing
    # is installed unless every byte arrived.
    # shellcheck disable=SC2029 # These are values of this side.
    ssh "${options[@]}" -- "$target" "set -eu
        directory=\$(mktemp -d)
        trap 'rm -rf \"\$directory\"' EXIT
        cat >\"\$directory/release.tar.gz\"
        printf '%s  %s\n' $sum \"\$directory/release.tar.gz\" | sha256sum --check --quiet
        tar -C \"\$directory\" -xzf \"\$directory/release.tar.gz\" --strip-components=1
        if [ \"\$(id -u)\" -eq 0 ]; then
            \"\$directory/install.sh\"$arguments
        else
            sudo -n \"\$directory/install.sh\"$arguments
        fi" <"$tarball" || fail "$target: not deployed"
}

main "$@"
