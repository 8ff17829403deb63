#!/usr/bin/env bash
# Installs OxDaaS from an unpacked release tarball as a systemd service.
#
#   ./install.sh [--no-start] [--root DIR]
#   ./install.sh --uninstall [--purge] [--root DIR]
#
#   --no-start     install, but leave the service as it is
#   --uninstall    stop the service and remove what was installed; documents,
#                  settings and the user stay
#   --purge        with --uninstall: remove those as well, for ever
#   --root DIR     install into the directory DIR instead of this machine: no user
#                  is made, no service is touched, and root is not needed
#
# The server answers its own machine alone until /etc/oxdaas/oxdaas.env names a file
# with tokens (OXDAAS_TOKEN_FILE) and an address to listen on; the file says how.
#
# It creates the user oxdaas and writes to /usr/local, /etc/systemd/system,
# /etc/oxdaas and /var/lib/oxdaas. Run it again to upgrade; settings are kept.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
prefix=
action=put_in_place
start=yes
purge=

main() {
    while [[ $# -gt 0 ]]; do
        case "$1" in
            -h | --help)
                sed -n '2,/^[^#]/{ s/^# \{0,1\}//p }' "$0"
                return
                ;;
            --no-start) start= ;;
            --uninstall) action=take_away ;;
            --purge) purge=yes ;;
            --root)
                [[ -n "${2:-}" ]] || fail "--root needs a directory"
                prefix="${2%/}"
                [[ -n "$prefix" ]] || fail "--root / is this machine: leave it out"
                shift
                ;;
            *) fail "unknown argument $1; see --help" ;;
        esac
        shift
    done
    if [[ -n "$purge" && "$action" != take_away ]]; then
        fail "--purge goes with --uninstall"
    fi
    if [[ -z "$prefix" && "$(id -u)" -ne 0 ]]; then
        fail "run it as root (sudo ./install.sh), or give --root DIR"
    fi
    "$action"
}

fail() {
    printf '%s: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# What is installed: source in the tarball, place, mode.
files() {
    local page
    printf '%s\n' \
        "bin/oxdaas /usr/local/bin/oxdaas 755" \
        "systemd/oxdaas.service /etc/systemd/system/oxdaas.service 644" \
        "share/completions/oxdaas.bash /usr/local/share/bash-completion/completions/oxdaas 644" \
        "share/completions/_oxdaas /usr/local/share/zsh/site-functions/_oxdaas 644" \
        "share/completions/oxdaas.fish /usr/local/share/fish/vendor_completions.d/oxdaas.fish 644"
    for page in "$here"/share/man/*.1; do
        printf '%s\n' "share/man/${page##*/} /usr/local/share/man/man1/${page##*/} 644"
    done
}

put_in_place() {
    [[ -x "$here/bin/oxdaas" && -f "$here/SHA256SUMS" ]] ||
        fail "there is no bin/oxdaas beside this script: unpack a release tarball (scripts/release.sh makes one) and run the install.sh in it"
    (cd "$here" && sha256sum --check --quiet --strict SHA256SUMS) ||
        fail "the files beside this script are not those of the release: unpack it again"
    local source place mode
    while read -r source place mode; do
        mkdir -p "$prefix$(dirname "$place")"
        # Not over the old file: a running server keeps it until it restarts.
        install -m "$mode" "$here/$source" "$prefix$place.new"
        mv -f "$prefix$place.new" "$prefix$place"
    done < <(files)
    mkdir -p "$prefix/etc/oxdaas" "$prefix/var/lib/oxdaas"
    if [[ ! -e "$prefix/etc/oxdaas/oxdaas.env" ]]; then
        install -m 640 "$here/systemd/oxdaas.env" "$prefix/etc/oxdaas/oxdaas.env"
    fi
    chmod 750 "$prefix/etc/oxdaas" "$prefix/var/lib/oxdaas"
    if [[ -n "$prefix" ]]; then
        printf 'installed into %s\n' "$prefix"
        return
    fi
    if ! getent passwd oxdaas >/dev/null; then
        useradd --system --user-group --home-dir /var/lib/oxdaas --no-create-home \
            --shell /usr/sbin/nologin oxdaas
    fi
    chown root:oxdaas /etc/oxdaas /etc/oxdaas/oxdaas.env
    chown oxdaas:oxdaas /var/lib/oxdaas
    start_service
}

# Without systemd, as in a container, the files are all there is to install.
start_service() {
    if [[ ! -d /run/systemd/system ]]; then
        printf 'installed; systemd does not run here: start it with\n  runuser -u oxdaas -- oxdaas start --data-dir /var/lib/oxdaas\n'
        return
    fi
    systemctl daemon-reload
    if [[ -z "$start" ]]; then
        printf 'installed; start it with: systemctl enable --now oxdaas\n'
        return
    fi
    systemctl enable --quiet oxdaas
    # Returns once the server answers, or has said why it does not.
    if ! systemctl restart oxdaas; then
        journalctl --unit oxdaas --lines 20 --no-pager >&2 || true
        fail "installed, but the server does not start; see above, and run: oxdaas doctor"
    fi
    systemctl --no-pager --lines 0 status oxdaas
    printf 'settings, as tokens and the address to listen on: /etc/oxdaas/oxdaas.env\n'
}

take_away() {
    if [[ -z "$prefix" && -d /run/systemd/system ]]; then
        systemctl disable --now --quiet oxdaas 2>/dev/null || true
    fi
    local place
    rm -f "$prefix"/usr/local/share/man/man1/oxdaas.1 "$prefix"/usr/local/share/man/man1/oxdaas-*.1
    while read -r _ place _; do
        rm -f "$prefix$place"
    done < <(files)
    if [[ -z "$prefix" && -d /run/systemd/system ]]; then
        systemctl daemon-reload
    fi
    if [[ -n "$purge" ]]; then
        rm -rf "$prefix/etc/oxdaas" "$prefix/var/lib/oxdaas"
        if [[ -z "$prefix" ]] && getent passwd oxdaas >/dev/null; then
            userdel oxdaas
        fi
        printf 'removed, with all documents and settings\n'
    else
        printf 'removed; documents are still in %s/var/lib/oxdaas, settings in %s/etc/oxdaas\n' "$prefix" "$prefix"
    fi
}

main "$@"
