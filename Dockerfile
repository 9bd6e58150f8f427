# The gateway alone: Redis is somewhere else, see docker-compose.yml.
#   docker build -t streamhub --build-arg VERSION="$(git describe --always --dirty)" .
#   docker run --rm -p 127.0.0.1:8080:8080 -p 127.0.0.1:9090:9090 streamhub serve --insecure-no-auth --insecure-admin
#
# It listens on all addresses of the container. So it asks for --auth jwt, or to be told that nobody needs a token, and the
# same for the admin listener: --admin-token-file or --insecure-admin.

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /streamhub ./cmd/streamhub
RUN cd deploy/release && CGO_ENABLED=0 go run . -root ../.. -notices /THIRD-PARTY-NOTICES

FROM debian:12-slim
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /streamhub /usr/local/bin/streamhub
COPY --from=build /src/LICENSE /THIRD-PARTY-NOTICES /usr/share/doc/streamhub/
USER 65532:65532
ENV STREAMHUB_LISTEN=0.0.0.0:8080 STREAMHUB_ADMIN_LISTEN=0.0.0.0:9090
EXPOSE 8080 9090
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m --start-interval=1s \
	CMD ["/bin/bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /healthz HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && read -r _ code _ <&3 && [ $code = 200 ]"]
ENTRYPOINT ["/usr/local/bin/streamhub"]
CMD ["serve"]
