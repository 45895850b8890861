# hookonce with nothing beside it: SQLite, libpq and OpenSSL are built from source and linked in.
#
#   docker build --tag hookonce .
#   docker run --rm hookonce demo
#
# ops/compose/ runs several instances with PostgreSQL and Redis.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
# The caches are no part of the image, so the program is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked && cp target/release/hookonce /usr/local/bin/hookonce

FROM debian:bookworm-slim
# Certificates, for a database or a Redis that is reached over TLS.
RUN apt-get update && \
    apt-get install --yes --no-install-recommends ca-certificates && \
    rm -rf /var/lib/apt/lists/* && \
    useradd --system --uid 10001 --home-dir /var/lib/hookonce --create-home hookonce
COPY --from=build /usr/local/bin/hookonce /usr/local/bin/hookonce
USER hookonce
# DATABASE_URL=sqlite://hookonce.db lies here: give it a volume.
WORKDIR /var/lib/hookonce
# What operators ask for is at a port of its own: publish 8080 alone.
ENV BIND=0.0.0.0:8080 OPERATIONS_BIND=0.0.0.0:8081
EXPOSE 8080 8081
# bash opens the connection itself, which spares the image an HTTP client.
HEALTHCHECK --interval=5s --timeout=3s --start-period=1m --retries=3 CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/8081 && printf 'GET /health/ready HTTP/1.0\\r\\n\\r\\n' >&3 && read -r _ status _ <&3 && [ \"$status\" = 200 ]"]
ENTRYPOINT ["hookonce"]
CMD ["serve"]
