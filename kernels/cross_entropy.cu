// The cross-entropy of logits x with labels l, smoothed: of a row, with m its largest logit,
//   loss = ln sum exp(x - m) - own * (x[l] - m) - share * sum(x - m),   own = 1 - smoothing, share = smoothing / classes
// its mean over all rows, and the gradient dx = dy / rows * (exp(x - m) / sum exp(x - m) - share - own * [class = l]).
// A label that is none of the classes makes the loss and its row's gradient NaN; nothing is read by it.
//
// Shapes: x, dx (rows, classes), labels (rows) as f32; saved (rows, 2), f32: m and 1 / sum exp(x - m).
//
// rows: a warp a row; a thread takes every 32nd pack, 16 bytes where classes is a multiple of that, else one value. The row is read for
//       its maximum, then again, from L1, for its sums: f32 within a thread, then by shuffles in a fixed order.
// mean: one block adds the rows' losses, runs of 64 values of a thread in f32, the runs in f64, in a fixed order.
// bwd:  as rows.
//
// Fuses: maximum, logarithm, smoothing, and what backward needs of a row.
// Shared memory: 256 bytes (mean), none (others). Registers on sm_90: rows 28 (f32), 32 (16 bits), mean 23, bwd 31 (f32), 32 (16 bits).
// One launch moves, with e = bytes of an element: rows (e*classes + 16)*rows bytes, 5 flops and an exponential a logit; mean 4*rows
// bytes; bwd (2*e*classes + 12)*rows bytes. Numbers: a warp a row, chosen without a GPU.
#include "common.cuh"

constexpr u32 THREADS = 256, MEAN_THREADS = 1024;

struct Classes {
    u32 rows, classes;
    float share, own;
};

// Which class a label names; `classes` if none.
__device__ __forceinline__ u32 class_of(float label, u32 classes) {
    return label >= 0.0f && label < classes && label == floorf(label) ? static_cast<u32>(label) : classes;
}

__device__ __forceinline__ float not_a_number() { return __int_as_float(0x7fc00000); }

template <class T, u32 W>
__device__ __forceinline__ void rows_packs(float* losses, float* saved, const T* __restrict__ x, const float* labels, const Classes& p) {
    const u32 row = (blockIdx.x * THREADS + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    if (row >= p.rows) return;
    x += row * p.classes;
    float most = __int_as_float(0xff800000), f[W];
#pragma unroll 4
    for (u32 i = lane * W; i < p.classes; i += WARP * W) {
        unpack(f, load_pack<W>(x + i));
#pragma unroll
        for (u32 k = 0; k < W; ++k) most = fmaxf(most, f[k]);
    }
#pragma unroll
    for (u32 offset = WARP / 2; offset > 0; offset /= 2) most = fmaxf(most, __shfl_xor_sync(FULL, most, offset));
    // NaN, which a maximum passes over, is met again here.
    float sums[2] = {0.0f, 0.0f};
#pragma unroll 2
    for (u32 i = lane * W; i < p.classes; i += WARP * W) {
        unpack(f, load_pack<W>(x + i));
#pragma unroll
        for (u32 k = 0; k < W; ++k) {
            const float below = f[k] - most;
            sums[0] += expf(below), sums[1] += below;
        }
    }
    warp_sums(sums, WARP, 1);
    if (lane != 0) return;
    const u32 own = class_of(labels[row], p.classes);
    float loss = not_a_number();
    if (own < p.classes) {
        loss = logf(sums[0]) - p.own * (to_f32(x[own]) - most);
        // Without smoothing a class of probability 0 costs nothing, whatever its logit.
        if (p.share > 0.0f) loss -= p.share * sums[1];
    }
    losses[row] = loss;
    *reinterpret_cast<float2*>(saved + 2 * row) = make_float2(most, 1.0f / sums[0]);
}

template <class T>
__device__ __forceinline__ void rows(float* losses, float* saved, const T* x, const float* labels, const Classes& p) {
    if (p.classes % LANES<T> == 0) {
        rows_packs<T, LANES<T>>(losses, saved, x, labels, p);
    } else {
        rows_packs<T, 1>(losses, saved, x, labels, p);
    }
}

template <class T, u32 W>
__device__ __forceinline__ void bwd_packs(T* __restrict__ dx, const float* dy, const T* __restrict__ x, const float* labels,
                                          const float* saved, const Classes& p) {
    const u32 row = (blockIdx.x * THREADS + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    if (row >= p.rows) return;
    x += row * p.classes, dx += row * p.classes;
    const u32 own = class_of(labels[row], p.classes);
    const float scale = own < p.classes ? *dy / p.rows : not_a_number();
    const float2 of_row = *reinterpret_cast<const float2*>(saved + 2 * row);
#pragma unroll 2
    for (u32 i = lane * W; i < p.classes; i += WARP * W) {
        float f[W];
        unpack(f, load_pack<W>(x + i));
#pragma unroll
        for (u32 k = 0; k < W; ++k) {
            const float probability = expf(f[k] - of_row.x) * of_row.y;
            f[k] = scale * (probability - p.share - (i + k == own ? p.own : 0.0f));
        }
        store_pack(dx + i, pack<T>(f));
    }
}

template <class T>
__device__ __forceinline__ void bwd(T* dx, const float* dy, const T* x, const float* labels, const float* saved, const Classes& p) {
    if (p.classes % LANES<T> == 0) {
        bwd_packs<T, LANES<T>>(dx, dy, x, labels, saved, p);
    } else {
        bwd_packs<T, 1>(dx, dy, x, labels, saved, p);
    }
}

extern "C" __global__ void __launch_bounds__(256) cross_entropy_rows_f32(float* losses, float* saved, const float* x, const float* labels, Classes p) { rows(losses, saved, x, labels, p); }
extern "C" __global__ void __launch_bounds__(256) cross_entropy_rows_bf16(float* losses, float* saved, const bf16* x, const float* labels, Classes p) { rows(losses, saved, x, labels, p); }
extern "C" __global__ void __launch_bounds__(256) cross_entropy_rows_f16(float* losses, float* saved, const f16* x, const float* labels, Classes p) { rows(losses, saved, x, labels, p); }
extern "C" __global__ void __launch_bounds__(1024) cross_entropy_mean_f32(float* mean, const float* losses, u32 rows) {
    __shared__ double shared[MEAN_THREADS / WARP];
    LongSum sum;
    for (u32 i = threadIdx.x; i < rows; i += MEAN_THREADS) sum.add(losses[i]);
    const double total = block_sum(sum.result(), shared);
    if (threadIdx.x == 0) *mean = (float)(total / rows);
}
extern "C" __global__ void __launch_bounds__(256) cross_entropy_bwd_f32(float* dx, const float* dy, const float* x, const float* labels, const float* saved, Classes p) { bwd(dx, dy, x, labels, saved, p); }
extern "C" __global__ void __launch_bounds__(256) cross_entropy_bwd_bf16(bf16* dx, const float* dy, const bf16* x, const float* labels, const float* saved, Classes p) { bwd(dx, dy, x, labels, saved, p); }
extern "C" __global__ void __launch_bounds__(256) cross_entropy_bwd_f16(f16* dx, const float* dy, const f16* x, const float* labels, const float* saved, Classes p) { bwd(dx, dy, x, labels, saved, p); }
