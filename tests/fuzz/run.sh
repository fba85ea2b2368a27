#!/bin/bash
# Fuzzes each target for a while, from its seed corpus, as many at a time as there are cores.
#   tests/fuzz/run.sh SECONDS TARGET...
# New inputs gather in build/fuzz/corpus, findings in build/fuzz/findings. The last line is
# "N passed, N failed", a target counting as one.
set -u

seconds=${1:?usage: tests/fuzz/run.sh SECONDS TARGET...}
shift

fuzz() {
    local target=$1 name runs
    name=$(basename "$target")
    local seeds=tests/fuzz/corpus/${name#fuzz_}
    local corpus=build/fuzz/corpus/$name findings=build/fuzz/findings/$name
    local log=$findings/log
    mkdir -p "$corpus" "$findings"
    if "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
        -print_final_stats=1 -artifact_prefix="$findings/" "$corpus" "$seeds" >"$log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        echo "ok    $name  $runs inputs in $seconds s"
    else
        echo "FAIL  $name  the input is in $findings/; the end of $log:"
        tail -n 60 "$log"
        return 1
    fi
}

# A job is a shell that waits for its target.
stop() {
    local job
    for job in $(jobs -p); do
        pkill --parent "$job"
    done
    exit 130
}
trap stop INT TERM

passed=0
failed=0
await_one() {
    if wait -n; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

cores=$(nproc)
running=0
for target in "$@"; do
    if [ "$running" -ge "$cores" ]; then
        await_one
        running=$((running - 1))
    fi
    fuzz "$target" &
    running=$((running + 1))
done
while [ "$running" -gt 0 ]; do
    await_one
    running=$((running - 1))
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
