# OxDaaS in a container: 'scripts/prod.sh' builds it and says what to do next.
#
# It runs as a user without rights, keeps its documents in the volume /data, and listens
# on port 4000 of all addresses of the container (PORT names another). io_uring must be
# allowed: scripts/docker/seccomp.json allows what the server calls and nothing else.

FROM rust:1.95-slim-bookworm AS builder
WORKDIR /source
COPY Cargo.toml Cargo.lock ./
COPY benches benches
COPY src src
# There when scripts/prod.sh found a cargo configuration; the lock file always is.
COPY Cargo.lock .carg[o] .cargo/
# A dependency's build script calls git, which this image lacks, and needs no answer.
RUN ln -s /bin/true /usr/local/bin/git
RUN cargo build --release --locked && strip --strip-debug target/release/oxdaas

# The tarball for machines without Docker: scripts/docker.release.sh builds this far.
FROM builder AS release
ARG SOURCE_DATE_EPOCH
COPY LICENSE README.md ./
COPY scripts scripts
RUN OXDAAS_BINARY=target/release/oxdaas scripts/release.sh --output /release

FROM debian:bookworm-slim
RUN groupadd --gid 65532 oxdaas \
    && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /data --shell /usr/sbin/nologin oxdaas \
    && install -d -o oxdaas -g oxdaas -m 700 /data
COPY --from=builder /source/target/release/oxdaas /usr/local/bin/oxdaas
ENV OXDAAS_DATA_DIR=/data PORT=4000
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 4000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["oxdaas", "healthcheck"]
CMD ["oxdaas", "serve"]
