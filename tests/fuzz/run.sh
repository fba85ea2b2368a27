#!/bin/sh
# Fuzzes each target for a while, from its seed corpus.
#   tests/fuzz/run.sh SECONDS TARGET...
# New inputs gather in build/fuzz/corpus, findings in build/fuzz/findings. The last line is
# "N passed, N failed", a target counting as one.
set -eu

seconds=${1:?usage: tests/fuzz/run.sh SECONDS TARGET...}
shift
passed=0
failed=0

for target in "$@"; do
    name=$(basename "$target")
    seeds=tests/fuzz/corpus/${name#fuzz_}
    corpus=build/fuzz/corpus/$name
    findings=build/fuzz/findings/$name
    mkdir -p "$corpus" "$findings"
    log=$findings/log
    if "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
        -print_final_stats=1 -artifact_prefix="$findings/" "$corpus" "$seeds" >"$log" 2>&1; then
        passed=$((passed + 1))
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        echo "ok    $name  $runs inputs in $seconds s"
    else
        failed=$((failed + 1))
        echo "FAIL  $name  the input is in $findings/; the end of $log:"
        tail -n 60 "$log"
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
