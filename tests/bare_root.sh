#!/bin/bash
# Acceptance: in a bare Debian 12 root, "make run" ends in a served classification and "make test"
# passes. Needs root, mmdebstrap and the network; takes some minutes and 2 GB below TMPDIR.
#   tests/bare_root.sh
# The root has nothing but Debian's minimal set and make, git and ca-certificates; nothing is
# mounted in it. Committed files are tested, not the working tree.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
root=$work/root
server=

clean_up() {
    [ -z "$server" ] || kill -KILL -- "-$server" 2>/dev/null || true
    rm -rf --one-file-system "$work"
}
trap clean_up EXIT

say() {
    printf '\n==== %s\n' "$*"
}

make_root() {
    tests/debian_root.sh "$root" make,git,ca-certificates
    git clone --quiet --no-hardlinks . "$root/srv/attriprompt"
}

in_root() {
    chroot "$root" /bin/bash -c "cd /srv/attriprompt && exec $1"
}

check_run() {
    local log=$work/run.log waited=0
    set -m # the server gets a process group of its own, as on a terminal
    in_root "make run PORT=0" >"$log" 2>&1 &
    server=$!
    set +m
    until grep -q '"predictions"' "$log"; do
        if ! kill -0 "$server" 2>/dev/null || [ "$waited" -ge 900 ]; then
            cat "$log"
            echo "make run: no classification after $waited s"
            return 1
        fi
        sleep 1
        waited=$((waited + 1))
    done
    echo "a classification after $waited s"
    sleep 1
    kill -INT -- "-$server"
    wait "$server" || true # make reports the interrupt
    sed -n '/^listening on/,$p' "$log"
    if pgrep -r D,R,S,T -a -g "$server"; then
        echo "make run: these processes are left after Ctrl-C"
        return 1
    fi
    server=
}

check_test() {
    local log=$work/test.log
    if ! in_root "make test" >"$log" 2>&1; then
        cat "$log"
        return 1
    fi
    tail -n 1 "$log"
}

failed=0
say "making a bare root"
make_root
say "make run"
check_run || failed=$((failed + 1))
say "make test"
check_test || failed=$((failed + 1))
say "$((2 - failed)) passed, $failed failed"
[ "$failed" -eq 0 ]
