# The gateway alone: Redis is somewhere else, see docker-compose.yml.
#   docker build -t streamhub --build-arg VERSION="$(git describe --always --dirty)" .
#   docker run --rm streamhub --help

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=$VERSION" -o /streamhub ./cmd/streamhub

FROM debian:12-slim
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /streamhub /usr/local/bin/streamhub
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/streamhub"]
CMD ["serve"]
