# skytools: every target works on a fresh clone. Those that need a PostgreSQL
# server install a package when there is none (Debian and Ubuntu), or say which.

GO ?= go

.PHONY: build demo test bench lint server

build:
	$(GO) build -trimpath -o bin/ ./cmd/...

demo: server build
	bin/skytools demo

test: server
	$(GO) test -race ./...

lint:
	@test -z "$$(gofmt -l .)" || { echo "gofmt these files:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

# BENCH=regexp selects figures, BENCH_OUT=file keeps them as JSON.
bench: server
	$(GO) run ./cmd/skytools/internal/bench

server:
	@.ci/server
