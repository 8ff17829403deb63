#!/usr/bin/env bash
# Builds the image of OxDaaS with Docker, and says what to do next.
#
#   scripts/prod.sh [--tag NAME] [-- BUILD-OPTION...]
#
#   --tag NAME    name of the image (default oxdaas)
#
# What follows -- goes to 'docker build', as --no-cache or --network=host. A cargo
# configuration of yours (~/.cargo/config.toml) is used when there is one, such as one
# that names a mirror; OXDAAS_CARGO_CONFIG names another file, or none when it is
# empty. It is in the layers that build, on this machine, and not in the image.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
    image_arguments oxdaas "$@"
    build_image
    printf '\nThe image %s is built (%s MB). Next, a token that lets its clients in, which the\n' "$image" \
        "$(($(docker image inspect --format '{{.Size}}' "$image") / 1000000))"
    printf 'user in the container may read; then start it, and see it answer:\n\n'
    printf '  cd %q\n  ../secret.sh tokens && sudo chown 65532 tokens\n' "$root/scripts/docker"
    if [[ "$image" != oxdaas ]]; then
        printf '  export OXDAAS_IMAGE=%q\n' "$image"
    fi
    printf '  docker compose up -d\n  curl localhost:4000/healthz\n'
}

main "$@"
