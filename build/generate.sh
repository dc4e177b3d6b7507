#!/usr/bin/env bash
# Regenerates the code below proto/ with the tools pinned in build/tools, and
# records of which sources it was made: make check compares that, so that only
# this script has to build buf (minutes, the first time).
set -euo pipefail
cd "$(dirname "$0")/.."

buf=(go tool -modfile=build/tools/buf.mod buf)
"${buf[@]}" lint --config build/tools/buf.yaml .
rm -f proto/jaco/v1/*.pb.go
"${buf[@]}" generate --config build/tools/buf.yaml --template build/tools/buf.gen.yaml .

find proto -name '*.proto' | LC_ALL=C sort | xargs sha256sum >build/proto.sha256
