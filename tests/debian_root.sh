#!/bin/bash
# Makes a minimal Debian 12 in an empty folder, with nothing that debian:bookworm-slim leaves out.
# It gets its packages from where this machine does, other vendors apart, with the same settings.
# Needs root, mmdebstrap and the network.
#   tests/debian_root.sh FOLDER [PACKAGE,...]
set -euo pipefail

folder=${1:?usage: tests/debian_root.sh FOLDER [PACKAGE,...]}
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT

sources() {
    local file
    for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
        if [ -f "$file" ]; then
            echo "$file"
            return
        fi
    done
    echo http://deb.debian.org/debian
}

options=(
    --variant=minbase
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr
    --include="usr-is-merged${2:+,$2}"
    --aptopt="$work/apt.conf"
    --dpkgopt=force-unsafe-io
    --dpkgopt='path-exclude=/usr/share/doc/*'
    --dpkgopt='path-include=/usr/share/doc/*/copyright'
    --dpkgopt='path-exclude=/usr/share/locale/*'
    --dpkgopt='path-exclude=/usr/share/man/*'
)
apt-config dump --format '%F "%v";%n' Acquire::http Acquire::https \
    Acquire::Check-Valid-Until Acquire::Check-Date >"$work/apt.conf"
if ! mmdebstrap "${options[@]}" bookworm "$folder" "$(sources)" >"$work/log" 2>&1; then
    cat "$work/log" >&2
    exit 1
fi
