#!/usr/bin/env bash
# Installs with apt what this machine lacks; what is there stays as it is.
#
#   build/deps.sh demo   for "make demo": a container engine only if none answers
#   build/deps.sh test   for "make test": everything the suites need
#   build/deps.sh bench  for "make bench": the same, and the engine's command line
#
# Nothing that it installs is started, now or at the next boot: the demo and the
# suites start engines of their own.
set -euo pipefail

say() { printf 'deps: %s\n' "$*"; }
die() { printf 'deps: %s\n' "$*" >&2; exit 1; }

# /usr/sbin is not on everybody's path, and daemons live there.
PATH=$PATH:/usr/sbin:/sbin

# Packages to install, and why, collected by need.
missing=()
need() { # program package
  command -v "$1" >/dev/null || missing+=("$2")
}

# One answer is enough; the path is fixed by the API since its first version.
engine_answers() {
  local socket=/var/run/docker.sock
  case ${DOCKER_HOST:-} in
    '') ;;
    unix://*) socket=${DOCKER_HOST#unix://} ;;
    *) die "DOCKER_HOST=$DOCKER_HOST is not a unix socket; unset it, or point it at one (unix:///path)" ;;
  esac
  [ -S "$socket" ] || return 1
  if command -v curl >/dev/null; then
    curl -fsS --max-time 5 --unix-socket "$socket" http://engine/_ping >/dev/null 2>&1 || return 1
  else
    DOCKER_HOST=unix://$socket timeout 5 docker version >/dev/null 2>&1 || return 1
  fi
  say "an engine answers at $socket"
}

need_engine() {
  need dockerd docker.io
  need containerd containerd
  need runc runc
  need iptables iptables
}

# The engine's command line is part of docker.io up to Debian 12, and a package
# of its own since. Which, is known once the package lists are.
cli=
need_cli() {
  if ! command -v docker >/dev/null; then cli=yes; fi
}
add_cli() {
  [ -n "$cli" ] || return 0
  local package=docker.io
  if apt-cache show docker-cli >/dev/null 2>&1; then package=docker-cli; fi
  case " ${missing[*]} " in *" $package "*) ;; *) missing+=("$package") ;; esac
}

need_test() {
  need_demo
  need_engine
  need nft nftables
  need sshd openssh-server
  need gpg gnupg
  need docker-registry docker-registry
  need dig bind9-dnsutils
}

need_demo() {
  need git git
  need ip iproute2
  need nsenter util-linux
  need ssh-keygen openssh-client
  need curl curl
  [ -d /etc/ssl/certs ] && [ -n "$(ls -A /etc/ssl/certs)" ] || missing+=(ca-certificates)
}

# A policy-rc.d that refuses keeps packages from starting their services while
# they are installed. One that the machine already has is left in place.
policy=/usr/sbin/policy-rc.d
guarded=
guard() {
  [ -e "$policy" ] && return
  guarded=yes
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
}
unguard() { if [ -n "$guarded" ]; then rm -f "$policy"; fi; }

# Installing enables services for the next boot: take that back, for those that
# came just now.
disable_new() {
  command -v systemctl >/dev/null || return 0
  local p units=()
  for p in "${missing[@]}"; do
    case $p in
      docker.io) units+=(docker.service docker.socket) ;;
      containerd) units+=(containerd.service) ;;
      openssh-server) units+=(ssh.service ssh.socket) ;;
      docker-registry) units+=(docker-registry.service) ;;
    esac
  done
  [ ${#units[@]} -eq 0 ] || systemctl disable --quiet "${units[@]}" 2>/dev/null || true
}

install_missing() {
  add_cli
  if [ ${#missing[@]} -eq 0 ]; then
    say "nothing to install"
    return
  fi
  local cmd=(apt-get install -y -q --no-install-recommends)
  [ "$(id -u)" -eq 0 ] || die "missing: ${missing[*]}. Run as root, or install them: sudo ${cmd[*]} ${missing[*]}"
  command -v apt-get >/dev/null || die "missing: ${missing[*]}. There is no apt-get here: install them by hand"
  say "installing with apt: ${missing[*]}"
  log=$(mktemp)
  trap 'unguard; rm -f "$log"' EXIT
  guard
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q >"$log" 2>&1 || { cat "$log" >&2; die "apt-get update ended with an error; see above"; }
  add_cli # again: the lists were perhaps empty before
  "${cmd[@]}" "${missing[@]}" >"$log" 2>&1 || { cat "$log" >&2; die "apt-get install ended with an error; see above"; }
  disable_new
  say "installed; no service was started"
}

case ${1:-} in
  demo)
    need_demo
    engine_answers || need_engine
    ;;
  test)
    need_test
    ;;
  bench)
    need_test
    need_cli
    ;;
  *)
    echo "usage: $0 demo|test|bench" >&2
    exit 2
    ;;
esac
install_missing
command -v go >/dev/null || die "go is not on the path: install Go 1.26 from https://go.dev/dl/"
