# Sourced by make.sh before the script of a case. Everything is made by git,
# ssh-keygen and gpg as a developer has them, with the committed test keys and a
# clock that the scripts move, so that a case comes out with the same ids again.
#
# A case leaves refs/labels/NAME for every commit and tag that case.yaml names.

# --- signing -----------------------------------------------------------------

# now is the date of the next commit: 2026-11-23T12:00:00Z and a minute more for
# each one.
now=1795435200

tick() {
	now=$((now + 60))
	export GIT_AUTHOR_DATE="@$now +0000" GIT_COMMITTER_DATE="@$now +0000"
}

# as SIGNER COMMAND… runs git so that -S and tag -s sign by the key.
as() {
	local signer=$1
	shift
	export GIT_AUTHOR_NAME=$signer GIT_AUTHOR_EMAIL=$signer@example.com
	export GIT_COMMITTER_NAME=$signer GIT_COMMITTER_EMAIL=$signer@example.com
	if [[ -f $keys/$signer.sec.asc ]]; then
		git -c gpg.format=openpgp -c gpg.program="$work/gpg" -c user.signingkey="$signer@example.com" "$@"
	else
		git -c gpg.format=ssh -c user.signingkey="$keys/$signer" "$@"
	fi
}

# label NAME [REV] keeps a name for case.yaml.
label() { git update-ref "refs/labels/$1" "${2:-HEAD}"; }

# --- commits and tags --------------------------------------------------------

# file PATH TEXT
file() {
	mkdir -p "$(dirname "$1")"
	printf '%s' "$2" >"$1"
}

compose() { printf 'services:\n  web:\n    image: %s\n' "$1"; }

# deploy NAME IMAGE writes a deployment.
deploy() { file "deployments/$1/compose.yaml" "$(compose "$2")"$'\n'; }

# commit SIGNER MESSAGE [LABEL] commits the work tree. The signer "nobody" signs
# nothing.
commit() {
	tick
	git add -A
	if [[ $1 == nobody ]]; then
		as mallory commit -q --allow-empty --no-gpg-sign -m "$2"
	else
		as "$1" commit -q --allow-empty -S -m "$2"
	fi
	[[ -z ${3:-} ]] || label "$3"
}

# merge SIGNER MESSAGE REV… [-- LABEL] makes a merge commit.
merge() {
	local signer=$1 message=$2 sign=-S revs=()
	shift 2
	while [[ $# -gt 0 && $1 != -- ]]; do
		revs+=("$1")
		shift
	done
	[[ $signer != nobody ]] || { signer=mallory sign=--no-gpg-sign; }
	tick
	as "$signer" merge -q --no-ff "$sign" -m "$message" "${revs[@]}" >/dev/null
	[[ $# -lt 2 ]] || label "$2"
}

# evil SIGNER MESSAGE REV LABEL COMMAND… merges, runs the command on the work
# tree, and makes what it did a part of the merge.
evil() {
	local signer=$1 message=$2 rev=$3 name=$4
	shift 4
	tick
	as "$signer" merge -q --no-ff --no-commit "$rev" >/dev/null
	"$@"
	git add -A
	as "$signer" commit -q -S -m "$message"
	label "$name"
}

# branch NAME [FROM] switches to a new branch.
branch() { git checkout -q -B "$1" "${2:-HEAD}"; }

# back NAME switches to a branch that is there.
back() { git checkout -q "$1"; }

# tag SIGNER NAME LABEL|REV LABEL [MESSAGE] makes a signed tag; by "nobody" one that is
# annotated only. The ref itself is not kept: case.yaml says where a tag stands.
tag() {
	local what=$3
	tick
	git rev-parse -q --verify "refs/labels/$what" >/dev/null && what=refs/labels/$what
	if [[ $1 == nobody ]]; then
		as mallory tag -a -f -m "${5:-Approve}" "$2" "$what"
	else
		as "$1" tag -s -f -m "${5:-Approve}" "$2" "$what"
	fi
	label "$4" "refs/tags/$2"
	git tag -d "$2" >/dev/null
}

# approve SIGNER LABEL UNIT… [-- LABEL] approves by a commit with the trailer.
approve() {
	local signer=$1 what units=()
	what=$(git rev-parse "refs/labels/$2")
	shift 2
	while [[ $# -gt 0 && $1 != -- ]]; do
		units+=("$1")
		shift
	done
	commit "$signer" "Approve

Approves: $what ${units[*]}" "${2:-}"
}

# --- raw objects -------------------------------------------------------------

# payload REV writes a commit without its signature.
payload() { git cat-file commit "$1" | sed '/^gpgsig /,/^ -----END/d'; }

# signature REV writes the armor of a commit's signature.
signature() { git cat-file commit "$1" | sed -n '/^gpgsig /,/^ -----END/{s/^gpgsig //;s/^ //;p}'; }

# join PAYLOAD SIGNATURE writes the commit that has both, from two files.
join() { awk -v sig="$2" '
	/^$/ && !done { first = 1; while ((getline line < sig) > 0) { print (first ? "gpgsig " : " ") line; first = 0 } done = 1 }
	{ print }' "$1"; }

# store LABEL reads the raw bytes of a commit, makes it the head and keeps the
# label.
store() {
	git update-ref HEAD "$(git hash-object -t commit -w --literally --stdin)"
	git reset -q --hard
	label "$1"
}

# resign SIGNER LABEL reads the payload of a commit, signs it and stores it.
resign() {
	cat >"$work/payload"
	rm -f "$work/payload.sig"
	ssh-keygen -q -Y sign -n git -f "$keys/$1" "$work/payload" 2>/dev/null
	join "$work/payload" "$work/payload.sig" | store "$2"
}

# plant MODE PATH ID puts an entry into the index that no work tree can hold.
plant() { git update-index --add --cacheinfo "$1,$3,$2"; }

# commit_index SIGNER MESSAGE LABEL commits the index as it is.
commit_index() {
	local id
	tick
	id=$(as "$1" commit-tree -S -p HEAD -m "$2" "$(git write-tree)")
	git update-ref HEAD "$id"
	label "$3"
}

# --- the beginning of every case ---------------------------------------------

# usual VERSION is the usual trust.yaml; a variable set before replaces a part of
# it.
usual() {
	grep -v '^$' <<-END
		version: $1
		root: {threshold: ${threshold:-1}, signers: [${root:-alice, bob}]}
		signers:
		  alice: {keys: [keys/alice.pub, keys/alice2.pub]}
		  bob: {keys: [keys/bob.pub]}
		  carol: {keys: [keys/carol.pub]}
		  ci: {class: bot, keys: [keys/ci.pub]}
		  hub: {class: forge, keys: [keys/hub.pub]}
		${signers:-}
		rules:
		  - {paths: ["deployments/**"], approvals: 1}
		  - {paths: ["deployments/shop/**"], approvals: 2}
		${rules:-}
		${settings:-}
	END
}

# policy VERSION is the trust.yaml of the case, which may define another.
policy() { usual "$1"; }

# start makes the anchor, which is pinned, and the state before the attack: blog,
# which one person may change, and shop, which takes two, both approved.
start() {
	local key
	mkdir -p keys
	for key in alice alice2 bob carol ci hub ${more_keys:-}; do
		if [[ -f $keys/$key.pub ]]; then cp "$keys/$key.pub" keys/; else cp "$keys/$key.asc" keys/; fi
	done
	policy 1 >trust.yaml
	commit alice "Trust" anchor
	deploy blog blog:1
	deploy shop shop:1
	commit alice "Deploy blog and shop" first
	approve bob first shop -- base
}
