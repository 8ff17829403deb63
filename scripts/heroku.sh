#!/usr/bin/env bash
# Puts OxDaaS on Heroku, into an app that is there (heroku create APP).
#
#   scripts/heroku.sh [--token-file FILE] APP
#
#   --token-file FILE    tokens that clients must show (default APP.tokens in this
#                        directory; made when it is missing, see scripts/secret.sh)
#
# Heroku builds what is committed here, and runs it as scripts/heroku/heroku.yml says.
# FORGETS: the disk of a dyno is emptied at each restart, at least once a day, and all
# documents with it. REFUSES: where its kernel does not allow io_uring, the server
# does not start; 'heroku logs --app APP' shows the sentence that says so.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

app=
tokens=

main() {
    while [[ $# -gt 0 ]]; do
        case "$1" in
            -h | --help)
                usage
                return
                ;;
            --token-file)
                [[ -n "${2:-}" ]] || fail "--token-file needs a file"
                tokens="$2"
                shift
                ;;
            -*) fail "unknown option $1; see --help" ;;
            *)
                [[ -z "$app" ]] || fail "one app at a time; see --help"
                app="$1"
                ;;
        esac
        shift
    done
    [[ -n "$app" ]] || fail "say which app; see --help"
    tokens="${tokens:-$app.tokens}"
    need git
    command -v heroku >/dev/null || fail "the command heroku is missing: install the Heroku CLI, and run 'heroku login'"
    make_workspace

    local repository web commit information
    information="$(heroku apps:info --shell --app "$app")" || fail "there is no app $app that you may change; make it with 'heroku create $app'"
    repository="$(sed -n 's/^git_url=//p' <<<"$information")"
    web="$(sed -n 's/^web_url=//p' <<<"$information")"
    [[ -n "$repository" ]] || fail "heroku does not say where the repository of $app is: $information"
    commit="$(deployment)" || fail "$root is no clone of a git repository with a commit; Heroku is given what is committed"
    if [[ ! -e "$tokens" ]]; then
        "$root/scripts/secret.sh" "$tokens"
    fi
    heroku stack:set container --app "$app" >/dev/null
    # It prints what it sets; the token is an argument for as long as it runs.
    heroku config:set "OXDAAS_TOKENS=$(<"$tokens")" --app "$app" >/dev/null
    git -C "$root" push --force "$repository" "$commit:refs/heads/main"
    printf '\n%s is deployed with the tokens of %s. See it answer:\n\n' "$app" "$tokens"
    # shellcheck disable=SC2016 # What the reader's shell expands.
    printf '  curl %sdocs -H "Authorization: Bearer $(head -n 1 %q | cut -d " " -f 1)"\n\n' "$web" "$tokens"
    printf 'Its disk is emptied at each restart: keep nothing there that you need.\n'
}

# A commit of what is committed here, with heroku.yml at the top where Heroku wants it.
# Neither the work tree nor a branch of this repository changes.
deployment() {
    local blob tree head
    export GIT_INDEX_FILE="$workspace/index"
    head="$(git -C "$root" rev-parse --verify --quiet HEAD)" &&
        git -C "$root" read-tree HEAD &&
        blob="$(git -C "$root" hash-object -w "$root/scripts/heroku/heroku.yml")" &&
        git -C "$root" update-index --add --cacheinfo "100644,$blob,heroku.yml" &&
        tree="$(git -C "$root" write-tree)" &&
        git -C "$root" -c user.name=oxdaas -c user.email=oxdaas@localhost \
            commit-tree -m "OxDaaS for Heroku, of $head" "$tree"
}

main "$@"
