#!/usr/bin/env bash
# Runs every fuzz target of the module in turn, each for the time given.
# Usage: build/fuzz.sh 60s
set -euo pipefail
time=${1:-60s}
cd "$(dirname "$0")/.."

git grep -hoE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' >/dev/null || { echo "no fuzz targets" >&2; exit 1; }
git grep -oE '^func Fuzz[A-Za-z0-9_]+' -- '*_test.go' | while IFS=: read -r file decl; do
	target=${decl#func }
	package=./$(dirname "$file")
	echo "== $package $target"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package"
done
