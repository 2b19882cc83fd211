#!/usr/bin/env bash
# Checks and times the engine on this machine's GPU:  ./run.sh [smoke|parity|bench|tune|rivals|sanitize|profile]...
# Without a section all of them, in this order: what matters most comes first. Each takes 9 minutes at most (LIMIT, in seconds);
# what is left of it then is not run, and counted. Results are added to those of earlier calls, in results/ (OUT), and all packed
# into results.tar.gz of 16 MB at most. Exit code 1 when anything failed, 3 when nothing did but something was stopped by the clock or not run
# for want of time. What this machine has no program for (PyTorch, compute-sanitizer, ncu, nsys) is said, and fails nothing.
#
#   smoke     under a minute: the card, the kernels of convolution, a short training, a score
#   parity    every op against f64 on the CPU, each in a process of its own so that a fault poisons no other; golden files;
#             gradients; the demo
#   bench     scoring and training as the model of the card cuts the work
#   tune      measures the cuts, and the same times again with them
#   rivals    where PYTHON names one with PyTorch: PyTorch in turns with ckaad, for what bench/compare takes first in nine minutes, and
#             every convolution beside cuDNN's
#   sanitize  compute-sanitizer's memcheck, racecheck, initcheck and synccheck, op by op
#   profile   Nsight Compute's and Nsight Systems' reports of scoring
#
# JOBS of parity and sanitize run at once: 8, each with a context of some hundred MB on the card.
# PYTHON names a Python with PyTorch; ROUNDS and SKIP are bench/compare's. REHEARSAL=1 tries the script itself with as little work as
# there can be, on a libcuda that is none (crates/ptxsim-cuda): most of parity is left out, as the project's tests have it.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=${OUT:-results}
out=$(mkdir -p "$out" && cd "$out" && pwd)
cd "$here"
if [ -n "${REHEARSAL:-}" ]; then
    size=32 layers=1 batches=2 train=2 networks=r18 precisions=tf32 ops='^(add|fill)$' smoke_op=fill pictures=4
    few=(--repetitions 1)
else
    size=256 layers=2,3 batches="1 64" train=16 networks="r18 wide" precisions="tf32 bf16" ops=. smoke_op=conv2d pictures=64
    few=()
fi
export CKAAD_TEST_DEVICE=cuda CKAAD_TEST_DATA=$here/tests CKAAD_TEST_REPORT=$out/cases.jsonl
export XDG_CACHE_HOME=$out/cache
sections=("${@:-all}")
[ "${sections[0]}" = all ] && sections=(smoke parity bench tune rivals sanitize profile)
for section in "${sections[@]}"; do
    case $section in smoke | parity | bench | tune | rivals | sanitize | profile) ;;
    *) echo "$0: unknown section '$section': expected smoke, parity, bench, tune, rivals, sanitize or profile" >&2 && exit 2 ;;
    esac
done
deadline=0
before=$(cat "$out/checks.jsonl" 2>/dev/null | wc -l)

# A line of checks.jsonl: what was run, whether it passed, how long it took. What no time is left for is not run.
check() {
    local name=$1 left=$((deadline - SECONDS))
    shift
    if [ "$left" -le 0 ]; then
        echo "{\"section\":\"$section\",\"check\":\"$name\",\"passed\":null,\"why\":\"no time left\"}" | tee -a "$out/checks.jsonl"
        return
    fi
    local started=$SECONDS verdict=true code=0
    timeout --kill-after 5 "$left" "$@" >"$out/$name.log" 2>&1 || code=$?
    # Stopped by the clock is neither.
    case $code in
    0) ;;
    124 | 137) verdict=null ;;
    *) verdict=false ;;
    esac
    echo "{\"section\":\"$section\",\"check\":\"$name\",\"passed\":$verdict,\"exit\":$code,\"seconds\":$((SECONDS - started))}" |
        tee -a "$out/checks.jsonl"
}

# A check beside others, for what is not timed.
beside() {
    while [ "$(jobs -rp | wc -l)" -ge "${JOBS:-8}" ]; do
        wait -n
    done
    check "$@" &
}

# One op's cases in a process of its own, maybe behind another program.
op_cases() {
    local op=$1
    shift
    CKAAD_TEST_OP=$op "$@" ./test-kernels --exact parity::every_kernel_agrees_with_f64 --test-threads 1
}
export -f op_cases

net() {
    case $1 in
    r18) echo --backbone resnet18 --layers $layers --image-size "$size" ;;
    wide) echo --backbone wide_resnet50_2 --layers 1,2,3 --image-size "$size" ;;
    esac
}

# Whatever is measured, as JSON lines.
measure() {
    local name=$1
    shift
    check "bench-$name" bash -c '"$@" --format json >"$0"' "$out/bench-$name.jsonl" ./ckaad bench "$@" --device cuda
}

# Scoring, training and every kernel of them. $1 names the results, the rest are options.
measure_all() {
    local what=$1 precision network batch
    shift
    for precision in $precisions; do
        for network in $networks; do
            for batch in $batches; do
                measure "$what-score-$network-b$batch-$precision" score $(net "$network") --batch-size "$batch" \
                    --precision "$precision" "$@"
            done
            measure "$what-scores-only-$network-b$batch-$precision" score $(net "$network") --batch-size "$batch" \
                --precision "$precision" --scores-only "$@"
            for features in computed cached; do
                measure "$what-train-$network-$features-$precision" train $(net "$network") --batch-size "$train" \
                    --features $features --precision "$precision" "$@"
            done
            measure "$what-kernels-$network-$precision" kernels $(net "$network") --precision "$precision" ${few[@]:+"${few[@]}"} "$@"
            measure "$what-kernels-train-$network-$precision" kernels --work train $(net "$network") --batch-size "$train" \
                --precision "$precision" ${few[@]:+"${few[@]}"} "$@"
        done
    done
    # Nothing is trained in 8 bits.
    for network in $networks; do
        for batch in $batches; do
            measure "$what-score-$network-b$batch-int8" score $(net "$network") --batch-size "$batch" --precision int8 "$@"
        done
        measure "$what-kernels-$network-int8" kernels $(net "$network") --precision int8 ${few[@]:+"${few[@]}"} "$@"
    done
}

smoke() {
    check device ./ckaad plan score $(net r18) --device cuda --launch-trace
    check smoke-op bash -c 'op_cases "$1"' - $smoke_op
    # Pictures to train on and to score: drawn by the CPU, which trains a first detector on them, too.
    rm -rf "$out/drawn"
    check drawn ./ckaad demo --device cpu --out "$out/drawn" --epochs 1
    {
        echo path,label,split
        # Beside the table, so that nothing of the folder's own name is in it: that may have a comma.
        (cd "$out" && find drawn/data/train/good -name '*.png') | sort | head -n $pictures | sed 's/$/,good,train/'
    } >"$out/smoke.csv"
    check smoke-train ./ckaad train --data "$out/smoke.csv" $(net r18) --weights random --epochs 1 --batch-size $pictures \
        --device cuda --precision tf32 --own-settings --out "$out/smoke.safetensors" --force
    find "$out/drawn/data/test" -name '*.png' | sort | head -n $pictures | tr '\n' '\0' >"$out/smoke.list"
    check smoke-score ./ckaad score --model "$out/smoke.safetensors" --files0-from "$out/smoke.list" --device cuda --format json
}

parity() {
    local op precision device
    for op in $(grep -E "$ops" ops); do
        beside "op-$op" bash -c 'op_cases "$1"' - "$op"
    done
    wait
    [ -n "${REHEARSAL:-}" ] && return
    beside op-others ./test-kernels --skip parity:: --skip stand_in:: --skip budgets:: --test-threads 1
    beside golden ./test-golden kernels:: --test-threads 1
    beside gradcheck ./ckaad gradcheck --device cuda --precision f32 --format json
    for precision in f32 tf32; do
        rm -rf "$out/demo-$precision"
        beside "demo-$precision" ./ckaad demo --device cuda --precision $precision --out "$out/demo-$precision"
    done
    wait
    for precision in f32 tf32 bf16 f16; do
        beside "score-$precision" ./ckaad score --model "$out/demo-f32/model.safetensors" "$out/demo-f32/data/test" \
            --device cuda --precision $precision --format json
    done
    check quantize ./ckaad quantize --model "$out/demo-f32/model.safetensors" --normal "$out/demo-f32/data/train/good" \
        --out "$out/int8.safetensors" --force
    for device in cpu cuda; do
        beside "score-int8-$device" ./ckaad score --model "$out/int8.safetensors" "$out/demo-f32/data/test" \
            --device $device --precision int8 --format json
    done
    wait
}

bench() {
    measure_all model --tuning off
}

tune() {
    local precision network
    for precision in $precisions; do
        for network in $networks; do
            check "tune-$network-$precision" ./ckaad tune $(net "$network") --batch-size "${batches// /,}" --train=$train \
                --precision "$precision" --device cuda --format json ${few[@]:+"${few[@]}" --candidates 3}
        done
    done
    for network in $networks; do
        check "tune-$network-int8" ./ckaad tune $(net "$network") --batch-size "${batches// /,}" --precision int8 --device cuda \
            --format json ${few[@]:+"${few[@]}" --candidates 3}
    done
    measure_all tuned
}

rivals() {
    local precision nvidia
    [ -n "${PYTHON:-}" ] || { echo "PYTHON names no Python" && return; }
    # PyTorch brings cuDNN.
    check rivals-python "$PYTHON" -c 'import torch, nvidia.cudnn'
    nvidia=$("$PYTHON" -c 'import nvidia.cudnn; print(list(nvidia.cudnn.__path__)[0] + "/lib")' 2>/dev/null) || return
    for precision in $precisions; do
        LD_LIBRARY_PATH=$nvidia:${LD_LIBRARY_PATH:-} measure "cudnn-score-$precision" kernels $(net r18) --against cudnn \
            --precision "$precision"
        LD_LIBRARY_PATH=$nvidia:${LD_LIBRARY_PATH:-} measure "cudnn-train-$precision" kernels --work train $(net wide) \
            --against cudnn --precision "$precision"
    done
    check compare bench/compare --device cuda --ckaad ./ckaad --python "$PYTHON" --out "$out/compare" --program \
        --rounds "${ROUNDS:-1}" --skip "${SKIP:-*max-autotune*}"
}

sanitize() {
    local tool op
    command -v compute-sanitizer >/dev/null || { echo "compute-sanitizer is not here" && return; }
    unset CKAAD_TEST_REPORT
    for tool in memcheck racecheck initcheck synccheck; do
        for op in $(grep -E "$ops" ops); do
            beside "$tool-$op" bash -c 'op_cases "$@"' - "$op" compute-sanitizer --tool $tool --error-exitcode 1
        done
    done
    wait
}

profile() {
    local score=(./ckaad bench score $(net r18) --precision bf16 --device cuda)
    if command -v ncu >/dev/null; then
        check ncu env CKAAD_GRAPHS=0 ncu --set full --launch-count 60 --export "$out/score-r18-bf16" --force-overwrite "${score[@]}"
    else
        echo "ncu is not here"
    fi
    if command -v nsys >/dev/null; then
        check nsys nsys profile --output "$out/score-r18-bf16" --force-overwrite true "${score[@]}"
    else
        echo "nsys is not here"
    fi
}

./ckaad devices --format json >"$out/devices.json"
for section in "${sections[@]}"; do
    deadline=$((SECONDS + ${LIMIT:-540}))
    "$section"
done

# How many checks of this call ended so.
ended() {
    tail -n +$((before + 1)) "$out/checks.jsonl" | grep -c "$1"
}
failed=0
echo "passed $(ended '"passed":true'), failed $(ended '"passed":false'), stopped by the clock $(ended '"passed":null,"exit"'), not run $(ended '"why"')"
[ "$(ended '"passed":null')" = 0 ] || failed=3
[ "$(ended '"passed":false')" = 0 ] || failed=1

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
# Pictures and models can be made again. Where a profile is too large for the archive, it says so and leaves it.
pack() {
    local made
    made=$(mktemp)
    tar -C "$out" -czf "$made" --exclude=results.tar.gz --exclude='*/data' --exclude='*.safetensors' "$@" . &&
        mv "$made" "$out/results.tar.gz" && [ "$(stat -c %s "$out/results.tar.gz")" -le $((16 << 20)) ]
}
pack || { echo "the profiles are left out of the archive: they make it larger than 16 MB" &&
    pack --exclude='*.ncu-rep' --exclude='*.nsys-rep'; } || { echo "$out/results.tar.gz is larger than 16 MB" && failed=1; }
echo "$out/results.tar.gz"
exit $failed
