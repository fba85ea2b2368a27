#!/bin/bash
# Builds the image from the Dockerfile, runs it as an orchestrator would, and prints what is in it.
#   deploy/container_test.sh
# Needs root and the network, but no daemon: buildah builds on a Debian that mmdebstrap makes and
# that is kept in build/container. buildah cannot mount a root read-only; so the server is started
# with unshare, chroot and setpriv, in namespaces of its own, from the mounted image: with its
# entry point, environment and user, on a read-only root, without capabilities or a way to new ones.
# The last line is "N passed, N failed".
set -euo pipefail
cd "$(dirname "$0")/.."

base=localhost/debian:bookworm-slim
image=localhost/attriprompt:test
samples=engine/models/emoji-clip/samples
limit_s=30

[ "$(id -u)" -eq 0 ] || { echo "$0: needs root" >&2; exit 1; }
mkdir -p build/container
work=$(mktemp -d)
root=    # of the mounted image
server=  # what started the server, and ends with its status
inside=  # the server itself, the first process of its namespace
passed=0
failed=0
ended=

b() {
    buildah --storage-driver vfs --root "$PWD/build/container/storage" --runroot "$work/run" "$@"
}

# The first process of the namespace, and with it all others.
kill_server() {
    [ -z "$server" ] || pkill -KILL --parent "$server" || true
    server=
    inside=
}

clean_up() {
    trap '' INT TERM
    kill_server
    b rm --all >"$work/log" 2>&1 || cat "$work/log"
    b rmi --force $image >"$work/log" 2>&1 || true
    rm -rf --one-file-system "$work"
    [ -n "$ended" ] || echo "$passed passed, $((failed + 1)) failed"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() {
    printf '\n==== %3d s  %s\n' "$SECONDS" "$*"
}

# Counts a command that should succeed.
check() {
    local what=$1
    shift
    if "$@" >"$work/output" 2>&1; then
        passed=$((passed + 1))
        echo "ok    $what"
    else
        failed=$((failed + 1))
        echo "FAIL  $what: $*"
        sed 's/^/      | /' "$work/output"
    fi
}

fails_with() {
    local status=$1 part=$2 got=0
    shift 2
    "$@" >"$work/failure" 2>&1 || got=$?
    cat "$work/failure"
    [ "$got" -eq "$status" ] && grep -q -- "$part" "$work/failure"
}

quietly() {
    if ! "$@" >"$work/log" 2>&1; then
        cat "$work/log"
        return 1
    fi
}

# ---- The image ----

make_base() {
    local container
    container=$(b from scratch)
    tests/debian_root.sh "$(b mount "$container")"
    b commit --quiet --rm "$container" $base >/dev/null
}

setting() {
    b inspect --type image --format "{{range .Docker.Config.$1}}{{.}}{{\"\\n\"}}{{end}}" $image
}

build_image() {
    quietly b bud --isolation chroot --format docker --build-arg BASE=$base --tag $image .
    container=$(b from $image)
    root=$(b mount "$container")
    mapfile -t entry < <(setting Entrypoint)
    mapfile -t arguments < <(setting Cmd)
    mapfile -t variables < <(setting Env)
    mapfile -t health < <(setting Healthcheck.Test)
    user=$(b inspect --type image --format '{{.Docker.Config.User}}' $image)
    user=${user:-0:0}
    stop=$(b inspect --type image --format '{{.Docker.Config.StopSignal}}' $image)
    health=("${health[@]:1}") # without the word CMD
}

# ---- A container ----

# Sets command to one that runs words in the image as its user, with its environment and no more.
as_user() {
    command=(env -i "${variables[@]}" setpriv --reuid "${user%:*}" --regid "${user#*:}"
        --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all "$@")
}

# Sets command to one that runs words of the image in new namespaces.
in_container() {
    as_user "$@"
    # shellcheck disable=SC2016
    command=(unshare --mount --pid --net --ipc --uts --fork --kill-child -- bash -e -c '
        root=$1 volume=$2
        shift 2
        ip link set lo up
        mount --bind "$root" "$root"
        mount -o remount,bind,ro,nosuid "$root"
        mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
        mount --rbind -o ro /sys "$root/sys"
        mount -t tmpfs -o mode=755,size=64k tmpfs "$root/dev"
        for name in null zero urandom; do
            touch "$root/dev/$name"
            mount --bind "/dev/$name" "$root/dev/$name"
        done
        mount --bind "$volume" "$root/var/lib/attriprompt"
        exec chroot "$root" "$@"' - "$root" "$work/volume" "${command[@]}")
}

alone() {
    in_container "$@"
    "${command[@]}"
}

# Runs words of the image beside the server, as docker exec does.
beside() {
    as_user "$@"
    nsenter --target "$inside" --mount --net --pid --root --wd=/ -- "${command[@]}"
}

start() {
    in_container "${entry[@]}" "${arguments[@]}"
    "${command[@]}" >"$work/server.log" 2>&1 &
    server=$!
    for ((i = 0; i < limit_s * 10; i++)); do
        if grep -q '^listening on' "$work/server.log"; then
            inside=$(pgrep --parent "$server")
            return
        fi
        sleep 0.1
    done
    kill_server
    cat "$work/server.log"
    return 1
}

stop() {
    local status=0
    kill "-${stop#SIG}" "$inside"
    if timeout $limit_s tail --pid="$server" -f /dev/null; then
        wait "$server" || status=$?
        server=
    else
        echo "still there after $limit_s s"
        status=1
        kill_server
    fi
    [ "$status" -eq 0 ] || cat "$work/server.log"
    return "$status"
}

http() {
    nsenter --target "$inside" --net -- \
        curl --noproxy '*' -sS --fail-with-body --max-time $limit_s "$@"
}

is_dog() {
    http -F image=@$samples/dog.png -F labels=cat,dog,pizza http://127.0.0.1:8080/v1/classify \
        | tee "$work/answer" | grep '"predictions":\[{"label":"dog"'
}

# Of the server's status in /proc: all lines "Name:" are so.
has_status() {
    local lines named
    lines=$(grep -E "^$1:" "/proc/$inside/status")
    named=$(grep -cE "^$1:[[:space:]]+$2\$" <<<"$lines")
    echo "$lines"
    [ -n "$lines" ] && [ "$named" -eq "$(wc -l <<<"$lines")" ]
}

buildah_runs_as() {
    local uid
    uid=$(b run --isolation chroot "$container" -- id -u)
    echo "uid $uid"
    [ "$uid" = "$1" ]
}

check_container() {
    install -d -o "${user%:*}" -g "${user#*:}" -m 700 "$work/volume"
    check "the user is a number, and not root's" \
        grep -E '^[1-9][0-9]*:[1-9][0-9]*$' <<<"$user"
    check "buildah runs it as that user" buildah_runs_as "${user%:*}"
    check "buildah classifies with it" \
        b run --isolation chroot "$container" -- "${entry[@]}" classify --labels cat,dog \
        "/usr/share/attriprompt/models/emoji-clip/samples/dog.png"
    check "unhealthy before the start" fails_with 1 refused alone "${health[@]}"

    check "starts on a read-only root" start
    [ -n "$inside" ] || return 0
    check "has that user and group" has_status '[UG]id' "${user%:*}(\s+${user%:*}){3}"
    check "has no capability" has_status Cap"(Prm|Eff|Bnd)" 0+
    check "cannot get one" has_status NoNewPrivs 1
    check "healthy" beside "${health[@]}"
    check "classifies a picture over HTTP" is_dog
    cat "$work/answer"
    check "registers a label set" http -X PUT -H 'Content-Type: application/json' \
        -d '{"labels": ["cat", "dog"]}' http://127.0.0.1:8080/v1/label-sets/pets
    check "cannot write to its root" \
        fails_with 1 "Permission denied\|Read-only" beside touch /usr/share/attriprompt/new
    check "nor could root" fails_with 1 "Read-only file system" \
        nsenter --target "$inside" --mount --root -- touch /usr/share/attriprompt/new
    check "$stop ends it with 0" stop

    check "starts again" start
    check "and has kept the label set" http http://127.0.0.1:8080/v1/label-sets/pets
    check "and ends" stop
}

# ---- What is in it ----

packages_in() {
    dpkg-query --admindir="$1/var/lib/dpkg" -W -f '${Package} ${Version} ${Installed-Size}\n' | sort
}

show_contents() {
    local bare
    bare=$(b mount "$(b from $base)")
    packages_in "$bare" >"$work/base.list"
    packages_in "$root" >"$work/image.list"
    echo "the image has $(du -sm "$root" | cut -f 1) MB, its base $(du -sm "$bare" | cut -f 1) MB"
    echo "packages of the base:"
    cut -d ' ' -f 1 "$work/base.list" | paste -s -d ' ' | fold -s -w 90 | sed 's/^/  /'
    echo "packages on top of it, in KiB:"
    comm -13 "$work/base.list" "$work/image.list" \
        | awk '{ printf "  %9d  %s %s\n", $3, $1, $2; sum += $3 } END { printf "  %9d\n", sum }'
    echo "our own files, in bytes:"
    (cd "$root" && find usr/bin/attriprompt usr/share/attriprompt usr/share/doc/attriprompt \
        -type f -printf '  %9s  /%p\n' | sort -k 2)
}

if ! b images --quiet $base >/dev/null 2>&1; then
    say "making a Debian"
    make_base
fi
say "building the image"
build_image
say "running it"
check_container
say "what is in it"
show_contents
say "done"
ended=1
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
