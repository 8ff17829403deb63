#!/usr/bin/env bash
# Holds the server against its own description: schemathesis makes requests from
# GET /openapi.json, right and wrong ones, and checks that each answer is one that
# the description gives.
#
#   scripts/openapi-test.sh [EXAMPLES]    so many random ones of each operation
#                                         (default 25: about a minute)
#
# All of schemathesis' checks are on; scripts/openapi/ has its version, its
# settings and the rules that OpenAPI cannot express. It is installed from PyPI
# into OXDAAS_OPENAPI_VENV, by default below ~/.cache. The seed is fixed, so that
# every run sends the same: OXDAAS_OPENAPI_SEED sets another.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
    case "${1:-25}" in
        -h | --help)
            usage
            return
            ;;
        *[!0-9]* | 0) fail "not a number of examples: $1; see --help" ;;
    esac
    local examples="${1:-25}" here="$root/scripts/openapi" binary venv
    need python3
    make_workspace
    venv="$(tester "$here/requirements.txt")"
    binary="$(release_binary)"
    start_server "$binary" --data-dir "$workspace/data"
    # It runs in the workspace: whatever it leaves behind goes with it.
    (cd "$workspace" && SCHEMATHESIS_HOOKS=hooks PYTHONPATH="$here" PYTHONDONTWRITEBYTECODE=1 \
        "$venv/bin/schemathesis" --config-file "$here/schemathesis.toml" run \
        "http://$server_address/openapi.json" --checks all --max-examples "$examples" \
        --seed "${OXDAAS_OPENAPI_SEED:-1}" --generation-database none --no-color)
    stop_server TERM
}

# Prints the directory of a Python environment with what is in the list `$1`; makes
# it if there is none of that list.
tester() {
    local list="$1" digest venv
    digest="$(sha256sum "$list" | cut -c 1-16)"
    venv="${OXDAAS_OPENAPI_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/oxdaas/openapi-$digest}"
    mkdir -p "$(dirname "$venv")"
    exec {lock}>"$venv.lock"
    flock "$lock"
    if [[ ! -e "$venv/complete" ]]; then
        rm -rf "$venv"
        python3 -m venv "$venv" >&2 || fail "python3 cannot make an environment; install the Debian package python3-venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$list" >&2 ||
            fail "schemathesis cannot be installed from PyPI; see above"
        touch "$venv/complete"
    fi
    printf '%s\n' "$venv"
}

main "$@"
