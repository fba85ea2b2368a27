#!/bin/sh
# Make the emoji-groups pictures: what is missing of the Debian packages (as root) and npm packages,
# then every picture. Takes a minute of two cores; the same versions give the same bytes.
# usage: make.sh [OUT [SHEET]]      (build/emoji-groups when not named; SHEET: a picture of some)
set -eu

here=$(cd "$(dirname "$0")" && pwd)
build=$here/../../../../build
out=${1:-$build/emoji-groups}
packages=$build/emoji-groups-npm # the folder for npm packages

if [ $# -gt 2 ] || [ "${1:-}" = --help ]; then
    echo "usage: $0 [OUT [SHEET]]" >&2
    exit 2
fi

missing=
for package in python3 python3-numpy python3-pil librsvg2-bin; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
command -v npm >/dev/null || missing="$missing npm"
if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "$0: install first, or run as root:$missing" >&2
        exit 1
    fi
    apt-get update -q
    # shellcheck disable=SC2086
    apt-get install -q -y --no-install-recommends $missing
fi

# The versions that ../make/fetch.sh installs too.
twemoji=15.0.0
emojibase=17.0.0
has() {
    grep -q "\"version\": \"$2\"" "$packages/node_modules/$1/package.json" 2>/dev/null
}
if ! has @twemoji/svg "$twemoji" || ! has emojibase-data "$emojibase"; then
    mkdir -p "$packages"
    echo '{"private": true}' > "$packages/package.json"
    (cd "$packages" && npm install --no-audit --no-fund --ignore-scripts \
        "@twemoji/svg@$twemoji" "emojibase-data@$emojibase")
fi

set -- --data "$packages" --out "$out" ${2:+--sheet "$2"}
exec /usr/bin/python3 -B "$here/make_groups.py" "$@"
