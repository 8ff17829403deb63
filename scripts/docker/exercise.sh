#!/usr/bin/env bash
# Makes a running server do all that it can do, so that it calls all that it ever calls.
#
#   scripts/docker/exercise.sh URL COMMAND...
#
# COMMAND is how to run the binary beside the server; it is given 'healthcheck',
# 'console', 'import' and the like, and finds the server by its environment. Requests
# carry the token in OXDAAS_TOKEN, if there is one, and trust the authorities of
# OXDAAS_CA_FILE. Ends when compaction has rewritten a segment; fails at the first answer
# that is not as it must be.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"

patience_seconds=60
url=

main() {
    case "${1:-}" in
        -h | --help)
            usage
            return
            ;;
        -*) fail "unknown option $1; see --help" ;;
    esac
    [[ $# -ge 2 ]] || fail "say where the server is and how to run the binary; see --help"
    need curl python3
    url="${1%/}"
    shift
    make_workspace
    # Not an argument, where everyone on the machine sees it.
    if [[ -n "${OXDAAS_TOKEN:-}" ]]; then
        printf 'header = "Authorization: Bearer %s"\n' "$OXDAAS_TOKEN" >"$workspace/curlrc"
    fi
    if [[ -n "${OXDAAS_CA_FILE:-}" ]]; then
        printf 'cacert = "%s"\n' "$OXDAAS_CA_FILE" >>"$workspace/curlrc"
    fi
    requests
    "$@" healthcheck >/dev/null
    "$@" status >/dev/null
    printf 'put console {"n":1}\nget console\ncmd console ONLY n\nstats\ndelete console\n' |
        "$@" console >/dev/null
    until_compacted "$@"
}

# The routes, with what a client may do on each.
requests() {
    local path
    for path in /healthz /readyz /metrics /stats /openapi.json /dashboard /backup; do
        ask 200 "$path"
    done
    ask '200|201' /docs/exercise -X PUT --data '{"n":1,"list":[1,2,3]}'
    ask 200 /docs/exercise
    ask 200 /docs/exercise --head
    ask 200 '/docs/exercise?pointer=/list/0'
    ask 200 '/docs/exercise?fields=n'
    kind=application/merge-patch+json ask 200 /docs/exercise -X PATCH --data '{"n":2}'
    ask 200 /docs/exercise/increment --data '{"pointer":"/n","by":5}'
    ask 200 '/docs?ids=exercise,none'
    ask 200 '/docs?limit=10&include=data'
    ask 200 /batch --data '{"ops":[{"put":{"id":1,"data":1}},{"put":{"id":2,"data":2}},{"get":{"id":1}},{"delete":{"id":2}}]}'
    ask 200 /batch --data '{"atomic":true,"ops":[{"put":{"id":3,"data":1}},{"put":{"id":4,"data":2}},{"delete":{"id":3}}]}'
    ask 409 /batch --data '{"atomic":true,"ops":[{"put":{"id":5,"data":1}},{"patch":{"id":4,"json_patch":[{"op":"test","path":"","value":9}]}}]}'
    kind=application/json-patch+json ask 200 /docs/exercise -X PATCH --data '[{"op":"add","path":"/tags","value":[]}]'
    ask 200 /docs/exercise -X PUT -H 'Durability: logged' --data '{"n":3,"list":[1]}'
    ask 200 /api --data '{"id":12,"data":{"color":"blue"}}'
    ask 200 '/api/cmd?id=12&cmd[query]=ONLY&cmd[keys][]=color' --globoff
    ask '200|201' '/docs/brief?ttl=0.05' -X PUT --data 1
    ask '200|410' '/changes?since=0&wait=1'
    ask '200|410' '/changes?since=0&wait=1' -H 'Accept: text/event-stream'
    ask 412 /docs/exercise -X PUT -H 'If-None-Match: *' --data 1
    # Large enough to come in many pieces, and to be answered in gzip.
    python3 -c 'print("[" + ",".join(map(str, range(300000))) + "]")' >"$workspace/large"
    ask 201 /docs/large -X PUT -H 'Expect: 100-continue' --data-binary "@$workspace/large"
    # Silent for a while in its middle.
    { printf '[1,' && sleep 1 && printf '2]'; } | ask 201 /docs/slow --upload-file -
    ask 204 /docs/slow -X DELETE
    gzip -c "$workspace/large" >"$workspace/large.gz"
    ask 200 /docs/large -X PUT -H 'Content-Encoding: gzip' --data-binary "@$workspace/large.gz"
    ask 200 /docs/exercise -X PUT --data "$(head -c 6000 "$workspace/large" | tr -d '[' | sed 's/^/[/; s/,[0-9]*$/]/')"
    ask 200 /docs/exercise --compressed
    ask 204 /docs/large -X DELETE
    ask 404 /docs/large
}

# ask STATUS PATH OPTION...: one request, with a body of the type in kind if that is not
# JSON, which must be answered with STATUS; two of them
# ('200|201') where it matters whether the store was new.
ask() {
    local expected="$1" path="$2" got
    shift 2
    got="$(curl --silent --show-error --max-time 30 --config <(cat "$workspace/curlrc" 2>/dev/null) \
        --header "Content-Type: ${kind:-application/json}" --output "$workspace/answer" --write-out '%{http_code}' \
        "$@" "$url$path")"
    [[ "|$expected|" == *"|$got|"* ]] || fail "$path: $got instead of $expected: $(head -c 300 "$workspace/answer")"
}

# The same documents over and over, until the log has been compacted.
until_compacted() {
    local round deadline=$((SECONDS + patience_seconds))
    for ((round = 1; ; round++)); do
        python3 -c 'import sys
for n in range(20000):
    print("{\"id\":%d,\"data\":{\"n\":%d,\"round\":%s}}" % (n, n, sys.argv[1]))' "$round" |
            "$@" import - >/dev/null 2>&1
        ask 200 /metrics
        if grep -q '^oxdaas_compactions_total [1-9]' "$workspace/answer"; then
            return
        fi
        ((SECONDS < deadline)) || fail "nothing was compacted in $patience_seconds s, $round rounds"
    done
}

main "$@"
