#!/bin/sh
# Install what the scripts need on Debian 12 and the emoji packages below DIR/node_modules.
# usage: fetch.sh DIR      (run as root, or with the apt packages already there)
set -eu

if [ $# -ne 1 ] || [ "$1" = "--help" ]; then
    echo "usage: $0 DIR" >&2
    exit 2
fi
dir=$1

packages="python3-torch python3-numpy python3-pil python3-regex librsvg2-bin nodejs npm"
missing=""
for package in $packages; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
done
command -v npm >/dev/null 2>&1 && missing=$(echo "$missing" | sed 's/ nodejs//; s/ npm//')
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086
    apt-get install -y --no-install-recommends $missing
fi

mkdir -p "$dir"
cd "$dir"
[ -f package.json ] || echo '{"private": true}' > package.json
npm install --no-audit --no-fund --ignore-scripts \
    emoji-datasource-google@16.0.0 \
    @iconify-json/noto@1.2.9 \
    @iconify-json/noto-v1@1.2.5 \
    @lobehub/fluent-emoji-3d@1.1.0 \
    @lobehub/fluent-emoji-modern@1.0.0 \
    @iconify-json/fluent-emoji-flat@1.2.6 \
    @iconify-json/openmoji@1.2.29 \
    @iconify-json/emojione@1.2.3 \
    @iconify-json/emojione-v1@1.2.3 \
    @iconify-json/streamline-emojis@1.2.4 \
    @iconify-json/fxemoji@1.2.2 \
    @twemoji/svg@15.0.0 \
    emoji-datasource-twitter@16.0.0 \
    emojibase-data@17.0.0 \
    emojilib@4.0.3 \
    unicode-emoji-json@0.9.0
