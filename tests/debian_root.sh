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

# Filtered at the end: while mmdebstrap unpacks, that is slow.
# shellcheck disable=SC2016
options=(
    --variant=minbase
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr
    --include="usr-is-merged${2:+,$2}"
    --aptopt="$work/apt.conf"
    --dpkgopt=force-unsafe-io
    --customize-hook='rm -r "$1"/usr/share/locale/* "$1"/usr/share/man/*'
    --customize-hook='find "$1/usr/share/doc" ! -type d ! -name copyright -delete'
    --customize-hook="upload $work/excludes /etc/dpkg/dpkg.cfg.d/docker"
)
cat >"$work/excludes" <<'END'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
END
apt-config dump --format '%F "%v";%n' Acquire::http Acquire::https \
    Acquire::Check-Valid-Until Acquire::Check-Date >"$work/apt.conf"
if ! mmdebstrap "${options[@]}" bookworm "$folder" "$(sources)" >"$work/log" 2>&1; then
    cat "$work/log" >&2
    exit 1
fi
