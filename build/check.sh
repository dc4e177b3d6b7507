#!/usr/bin/env bash
# What must hold of every commit and needs no engine: formatting, vet, lint,
# the architecture rules, and generated code that matches its sources.
set -euo pipefail
cd "$(dirname "$0")/.."

unformatted=$(git ls-files '*.go' | xargs gofmt -l)
if [ -n "$unformatted" ]; then
	printf 'not formatted; run gofmt -w on:\n%s\n' "$unformatted" >&2
	exit 1
fi

# The committed hash is of the sources that the generated code was made from.
if ! sha256sum --check --quiet build/proto.sha256; then
	echo "proto/ changed after its code was generated: run make generate" >&2
	exit 1
fi

go mod tidy -diff
go vet ./...
go test ./tests
go tool -modfile=build/tools/lint.mod golangci-lint run ./...
echo "check: fine"
