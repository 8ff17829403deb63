#!/usr/bin/env bash
# Drives the dashboard of a real server in headless Chromium and judges what it
# shows: that it loads without an error and asks nobody else, that its numbers
# move under load, that documents are edited and commands run, with tokens and
# without, with the keyboard alone, on a phone, in light and dark.
#
#   scripts/dashboard-test.sh [--screenshots DIR]
#
#   --screenshots DIR   keep pictures of what it saw in DIR
#   OXDAAS_BINARY=FILE  test this binary instead of building one
#
# It needs Debian's chromium, chromium-driver, python3-venv and wrk, which
# scripts/test.sh installs, and gets Selenium from PyPI into a directory below
# target/ the first time.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

selenium='selenium==4.51.0'
screenshots=()

main() {
    while [[ $# -gt 0 ]]; do
        case "$1" in
            --screenshots)
                [[ $# -ge 2 ]] || fail "--screenshots needs a directory"
                screenshots=(--screenshots "$(realpath -m "$2")")
                shift 2
                ;;
            -h | --help)
                usage
                return
                ;;
            *) fail "unknown argument $1; see --help" ;;
        esac
    done
    need python3 chromium chromedriver wrk
    local venv="${CARGO_TARGET_DIR:-$root/target}/dashboard-venv" binary
    if [[ "$("$venv/bin/pip" freeze 2>/dev/null)" != *"$selenium"* ]]; then
        python3 -m venv --clear "$venv" || fail "python3 makes no environment: install python3-venv"
        "$venv/bin/pip" install --quiet "$selenium" || fail "$selenium cannot be installed from PyPI"
    fi
    binary="$(release_binary)"
    "$venv/bin/python" "$root/tests/dashboard/drive.py" "$binary" "${screenshots[@]}"
}

main "$@"
