#!/usr/bin/env bash
# Builds the release tarball in a container, on Debian 12 for Debian 12 and later.
#
#   scripts/docker.release.sh [--tag NAME] [-- BUILD-OPTION...]
#
#   --tag NAME    name of the image that is made (default oxdaas-release)
#
# The image holds the tarball in /release;
# scripts/docker.copy.release.sh brings it out. scripts/release.sh makes the same
# without Docker. A cargo configuration of yours and what follows -- are used as by
# scripts/prod.sh.
set -euo pipefail
# shellcheck source=scripts/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

main() {
    image_arguments oxdaas-release "$@"
    build_options+=(--target release --build-arg "SOURCE_DATE_EPOCH=$(source_date)")
    build_image
    printf 'the tarball is in the image %s; scripts/docker.copy.release.sh brings it out\n' "$image"
}

main "$@"
