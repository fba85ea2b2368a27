#!/bin/sh
# Installs the packages that a task needs and that are not there yet, on Debian 12 and newer. On any
# other system it says what is needed and installs nothing.
#   deploy/setup.sh [build] [run] [test] [lint] [models] [container] [deploy]
# Without a name: build.
set -eu

build="gcc libc6-dev make pkg-config libuv1-dev libmicrohttpd-dev libopenblas-pthread-dev
    libjansson-dev libjpeg62-turbo-dev libpng-dev libwebp-dev libutf8proc-dev
    nettle-dev libsqlite3-dev"
run="curl"
test="curl libcmocka-dev prometheus python3 python3-numpy python3-pil python3-pytest
    python3-pytest-timeout python3-regex"
lint="clang clang-format-14 libclang-rt-14-dev git python3 shellcheck"
container="buildah curl iproute2 mmdebstrap procps"
deploy="python3-yaml systemd"
models="python3 python3-numpy python3-pil python3-regex python3-torch libjpeg-turbo-progs
    librsvg2-bin"

os_release=${OS_RELEASE:-/etc/os-release} # a test gives another

say() {
    printf '%s\n' "$*" >&2
}

# Debian 12 or newer; the coming release has no VERSION_ID.
is_debian_12() (
    ID=none
    VERSION_ID=12
    [ -r "$os_release" ] || exit 1
    # shellcheck source=/dev/null
    . "$os_release"
    [ "$ID" = debian ] && [ "$VERSION_ID" -ge 12 ] && command -v apt-get >/dev/null
)

wanted=
for group in "${@:-build}"; do
    case $group in
    build) wanted="$wanted $build" ;;
    run) wanted="$wanted $run" ;;
    test) wanted="$wanted $test" ;;
    lint) wanted="$wanted $lint" ;;
    models) wanted="$wanted $models" ;;
    container) wanted="$wanted $container" ;;
    deploy) wanted="$wanted $deploy" ;;
    *)
        say "setup: unknown group '$group'; there are: build run test lint models container deploy"
        exit 2
        ;;
    esac
done

if ! is_debian_12; then
    say "setup: this is not Debian 12 or newer, so nothing was installed. Make sure that you have"
    say "what these packages of Debian 12 hold (other systems may name them differently):"
    # shellcheck disable=SC2086
    printf '    %s\n' $wanted >&2
    exit 0
fi

missing=
for package in $wanted; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        say "setup: packages are missing and there is no sudo. As root, run:"
        say "    apt-get install --no-install-recommends$missing"
        exit 1
    fi
    as_root=sudo
fi

apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 "$@" >&2
}

say "setup: installing$missing"
apt update || say "setup: apt-get update failed; trying with the package lists that are here"
# shellcheck disable=SC2086
if ! apt install --no-install-recommends $missing; then
    say "setup: apt-get could not install all of:$missing"
    exit 1
fi
