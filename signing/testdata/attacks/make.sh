#!/usr/bin/env bash
# Makes the histories of the cases anew: make.sh [-o DIR] [CASE…]. With -o the
# bundles go to DIR/CASE.bundle, and what is here stays as it is.
#
# A bundle's bytes depend on the version of git; the ids in it do not.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=
if [[ ${1:-} == -o ]]; then
	mkdir -p "$2"
	out=$(cd "$2" && pwd)
	shift 2
fi
[[ $# -gt 0 ]] || set -- $(cd "$here" && ls -d [0-9]*/ | tr -d /)

home=$(mktemp -d /tmp/attacks.XXXXXX)
finish() {
	[[ $? -eq 0 ]] || echo "make.sh: ${case:-nothing} was not made" >&2
	gpgconf --homedir "$home/gnupg" --kill all 2>/dev/null || true
	rm -rf "$home"
}
trap finish EXIT
keys=$home/keys
cp -r "$here/keys" "$keys" # ssh-keygen wants private keys to be private
chmod 700 "$keys"
chmod 600 "$keys"/*
mkdir -m 700 "$home/gnupg"
export HOME=$home GNUPGHOME=$home/gnupg LC_ALL=C TZ=UTC
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=$home/gitconfig
git config --global init.defaultBranch main
git config --global gc.auto 0
git config --global advice.detachedHead false

for case in "$@"; do
	work=$home/$case
	mkdir "$work"
	# gpg signs with the date of the commit.
	cat >"$work/gpg" <<-'END'
		#!/usr/bin/env bash
		date=${GIT_COMMITTER_DATE#@}
		exec gpg --faked-system-time "$(date -u -d "@${date%% *}" +%Y%m%dT%H%M%S)" "$@"
	END
	chmod +x "$work/gpg"
	(
		git init -q "$work/repo"
		cd "$work/repo"
		source "$here/lib.sh"
		if grep -q 'use_gpg' "$here/$case/make.sh"; then
			for key in "$keys"/*.sec.asc; do gpg --batch --quiet --import "$key"; done
		fi
		use_gpg() { :; }
		source "$here/$case/make.sh"
		git bundle create -q "$work/bundle" $(git for-each-ref --format='%(refname)' refs/labels)
	)
	if [[ -n $out ]]; then
		mv "$work/bundle" "$out/$case.bundle"
	else
		mv "$work/bundle" "$here/$case/history.bundle"
	fi
	rm -rf "$work"
done
