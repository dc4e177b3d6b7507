#!/usr/bin/env bash
# Makes the fixtures of this directory anew, with SOPS itself:
#
#   desired/sops/testdata/generate.sh
#
# A directory of good/ holds an encrypted file and in want what SOPS decrypts it
# to; one of refused/ a file that SOPS reads and JACO does not. identity.txt is
# the key that opens them. It is for tests, and no secret.
set -euo pipefail
cd "$(dirname "$0")"
root=$(git rev-parse --show-toplevel)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$root" && go build -modfile=build/tools/sops.mod -o "$work/sops" github.com/getsops/sops/v3/cmd/sops)

export SOPS_AGE_KEY_FILE=$PWD/identity.txt
ours=$(sed -n 's/^# recipient: //p' identity.txt)
other=age1tctqvsdeddj2cxlku4kkanmwqvsfwcw873xtnwsr76fm5fnrm9sst79yz6
rm -rf good refused other-recipient

# make KIND/NAME FILE ARGS… encrypts standard input, as the rules in $config say.
config=/dev/null
make() {
  mkdir -p "$1"
  cat > "$1/$2"
  "$work/sops" --config "$config" encrypt --in-place "${@:3}" "$1/$2"
}
# rules LINE… has the next files encrypted to us as creation rules say.
rules() {
  config=$work/rules.yaml
  { echo "creation_rules:"; echo "  - age: $ours"; printf '    %s\n' "$@"; } > "$config"
}
good() {
  make "good/$1" "$2" --age "$ours" "${@:3}"
  "$work/sops" --config /dev/null decrypt "good/$1/$2" > "good/$1/want"
}

good dotenv db.sops.env << 'END'
# a comment
PASSWORD=correct horse battery staple
URL=postgres://user:pa=ss@db/shop?x=1&y=#2
EMPTY=
QUOTED="in quotes"
LINES=one\ntwo
DOLLAR=$NOT_A_VARIABLE ${NOR_THIS}
UNICODE=pässwörd ☃
PORT=5432
NAME_unencrypted=in clear
END

nested() {
  cat << 'END'
# a comment
db:
    password: correct horse
    port: 5432
    ratio: 0.25
    big: 9007199254740993
    on: true
    off: false
    none: null
    empty: ""
    looks_like_a_number: "0123"
    lines: |
        one
        two
    # another comment
    since: 2026-11-25T10:00:00Z
users:
    - name: alice
      roles: [admin, "1", 2, true]
    - name: bob # the second
      roles: []
name_unencrypted: shop
key with spaces: "x: y"
number_unencrypted: 17
END
}
nested | good yaml all.sops.yaml
nested | good yml all.sops.yml
nested | good encrypted-regex some.sops.yaml --encrypted-regex '^(password|users)$'
nested | good unencrypted-regex some.sops.yaml --unencrypted-regex '^(port|name)'
nested | good encrypted-suffix some.sops.yaml --encrypted-suffix word
rules "encrypted_regex: '^password$'" 'mac_only_encrypted: true'
nested | make good/mac-only-encrypted some.sops.yaml
config=/dev/null
"$work/sops" --config /dev/null decrypt good/mac-only-encrypted/some.sops.yaml > good/mac-only-encrypted/want

good json all.sops.json << 'END'
{"db": {"password": "correct horse \u0001 \ud83d\ude00 <&>", "port": 5432, "ratio": 0.25, "big": 9007199254740993,
 "on": true, "none": null, "empty": ""}, "users": [{"name": "alice", "roles": ["admin", 2, false, []]}, {}],
 "name_unencrypted": "shop", "number_unencrypted": 1.5}
END

printf 'one value\nof two lines, without an end' | good binary token.sops.txt

make good/two-recipients db.sops.env --age "$other,$ours" << 'END'
PASSWORD=correct horse
END
"$work/sops" --config /dev/null decrypt good/two-recipients/db.sops.env > good/two-recipients/want

echo 'PASSWORD=correct horse' | make good/rotated db.sops.env --age "$ours"
"$work/sops" --config /dev/null rotate --in-place --add-age "$other" good/rotated/db.sops.env
"$work/sops" --config /dev/null decrypt good/rotated/db.sops.env > good/rotated/want

# Those that tests/secrets plants: it encrypts their data keys to the recipient
# that its cluster has.
planted=../../../tests/secrets/testdata
rm -rf "$planted"
for n in one two; do
  printf 'planted file %s %s' "$n" "$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" | make "$planted/$n" token.sops.txt --age "$ours"
  "$work/sops" --config /dev/null decrypt "$planted/$n/token.sops.txt" > "$planted/$n/token"
  echo "MESSAGE=planted variable $n $(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" | make "$planted/$n" db.sops.env --age "$ours"
  "$work/sops" --config /dev/null decrypt "$planted/$n/db.sops.env" > "$planted/$n/db"
done

# What the deployment's own recipient is not among.
echo 'PASSWORD=correct horse' | make other-recipient db.sops.env --age "$other"

rules 'encrypted_comment_regex: secret'
nested | make refused/comment-regex some.sops.yaml
config=/dev/null
cat > "$work/groups.yaml" << END
creation_rules:
  - shamir_threshold: 2
    key_groups:
      - age: [$ours]
      - age: [$other]
END
mkdir -p refused/key-groups
echo 'a: b' > refused/key-groups/some.sops.yaml
"$work/sops" --config "$work/groups.yaml" encrypt --in-place refused/key-groups/some.sops.yaml
printf '[a]\nb = c\n' | make refused/ini some.sops.ini --age "$ours"
printf 'a: b\n---\nc: d\n' | make refused/two-documents some.sops.yaml --age "$ours"
