#!/usr/bin/env bash
# Checks and times the engine on this machine's GPU:  ./run.sh [RESULTS_FOLDER]
# (DEVICE=sim EPOCHS=1 ./run.sh tries the script itself on the emulator, without the timings.)
# Writes results.json and the logs it is made from. Exit code 1 when a check fails; the others are done all the same.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "${1:-results}" && cd "${1:-results}" && pwd)
cd "$here"
device=${DEVICE:-cuda}
export CKAAD_TEST_DEVICE=$device CKAAD_TEST_DATA=$here/tests CKAAD_TEST_REPORT=$out/cases.jsonl
rm -f "$out"/*.jsonl "$out"/*.log
failed=0

# One line of checks.jsonl: what was run, whether it passed, how long it took.
check() {
    local name=$1
    shift
    local started=$SECONDS verdict=true
    "$@" >"$out/$name.log" 2>&1 || { verdict=false failed=1; }
    echo "{\"check\":\"$name\",\"passed\":$verdict,\"seconds\":$((SECONDS - started))}" | tee -a "$out/checks.jsonl"
}

check devices ./ckaad devices --format json
check op-tables ./test-kernels --test-threads 1
check golden ./test-golden kernels:: --test-threads 1
check gradcheck ./ckaad gradcheck --device "$device" --precision f32 --format json
check demo-f32 ./ckaad demo --device "$device" --precision f32 --out "$out/demo-f32" --epochs "${EPOCHS:-60}"
check demo-tf32 ./ckaad demo --device "$device" --precision tf32 --out "$out/demo-tf32" --epochs "${EPOCHS:-60}"
for precision in f32 tf32 bf16 f16; do
    check "score-$precision" ./ckaad score --model "$out/demo-f32/model.safetensors" "$out/demo-f32/data/test" \
        --device "$device" --precision "$precision" --format json
done
if command -v compute-sanitizer >/dev/null; then
    unset CKAAD_TEST_REPORT
    for tool in memcheck racecheck; do
        check "sanitizer-$tool" compute-sanitizer --tool "$tool" --error-exitcode 1 ./test-kernels parity --test-threads 1
    done
fi
[ "$device" = sim ] || for precision in f32 tf32 bf16; do
    ./bench-networks --bench --device "$device" --precision "$precision" 2>"$out/bench-$precision.log" |
        sed "s/^{/{\"precision\":\"$precision\",/" | tee -a "$out/bench.jsonl" || failed=1
done

# Lines of objects to one array.
array() {
    [ -s "$1" ] && paste -sd, "$1" | sed 's/^/[/; s/$/]/' || echo '[]'
}
card=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -1)
{
    echo "{\"card\":\"${card%%,*}\",\"driver\":\"${card##*, }\",\"commit\":\"$(cat commit)\","
    echo "\"checks\":$(array "$out/checks.jsonl"),"
    echo "\"cases\":$(array "$out/cases.jsonl"),"
    echo "\"bench\":$(array "$out/bench.jsonl")}"
} >"$out/results.json"
echo "$out/results.json"
exit $failed
