#!/usr/bin/env bash
# Checks and times the engine on this machine's GPU:  ./run.sh [RESULTS_FOLDER]
# (DEVICE=sim EPOCHS=1 ./run.sh tries the script itself on the emulator, without the timings.)
# Writes results.json, and the logs and tables it is made from. Exit code 1 when anything fails; the rest is done all the same.
# PYTHON names a Python with PyTorch; without one there is no comparison. ROUNDS and SKIP are bench/compare's.
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

./ckaad devices --format json >"$out/devices.json"
# Fails where the device cannot be used.
check device ./ckaad plan score --device "$device" --launch-trace
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
# Whatever is measured, as JSON lines: once as the model has it, and once tuned.
measure() {
    local name=$1
    shift
    check "bench-$name" bash -c '"$@" --format json >"$0"' "$out/bench-$name.jsonl" ./ckaad bench "$@" --device "$device"
}
r18=(--backbone resnet18 --layers 2,3)
wide=(--backbone wide_resnet50_2 --layers 1,2,3)
if [ "$device" != sim ]; then
    for precision in tf32 bf16; do
        measure "kernels-r18-$precision" kernels "${r18[@]}" --precision $precision --tuning off
        check "tune-r18-$precision" ./ckaad tune "${r18[@]}" --batch-size 1,64 --train=16 --precision $precision --device "$device"
        check "tune-wide-$precision" ./ckaad tune "${wide[@]}" --batch-size 1,64 --train=16 --precision $precision --device "$device"
        for batch in 1 64; do
            measure "score-r18-b$batch-$precision" score "${r18[@]}" --batch-size $batch --precision $precision
            measure "score-wide-b$batch-$precision" score "${wide[@]}" --batch-size $batch --precision $precision
        done
        for features in computed cached; do
            measure "train-wide-$features-$precision" train "${wide[@]}" --features $features --precision $precision
        done
        measure "kernels-r18-tuned-$precision" kernels "${r18[@]}" --precision $precision
        measure "kernels-wide-tuned-$precision" kernels "${wide[@]}" --precision $precision
        measure "kernels-train-tuned-$precision" kernels --work train "${wide[@]}" --precision $precision
    done
    if [ -n "${PYTHON:-}" ]; then
        check compare bench/compare --device "$device" --ckaad ./ckaad --python "$PYTHON" --out "$out/compare" --program \
            --rounds "${ROUNDS:-2}" --skip "${SKIP:-*max-autotune*}"
    fi
    if command -v ncu >/dev/null; then
        check ncu env CKAAD_GRAPHS=0 ncu --set full --launch-count 60 --export "$out/score-r18-bf16" --force-overwrite \
            ./ckaad bench score "${r18[@]}" --precision bf16 --device "$device"
    fi
fi

# Lines of objects to one array.
array() {
    [ -s "$1" ] && paste -sd, "$1" | sed 's/^/[/; s/$/]/' || echo '[]'
}
{
    echo "{\"devices\":$(cat "$out/devices.json"),\"commit\":\"$(cat commit)\","
    echo "\"checks\":$(array "$out/checks.jsonl"),"
    echo "\"cases\":$(array "$out/cases.jsonl"),"
    cat "$out"/bench-*.jsonl >"$out/bench.jsonl" 2>/dev/null
    echo "\"bench\":$(array "$out/bench.jsonl")}"
} >"$out/results.json"
echo "$out/results.json"
exit $failed
