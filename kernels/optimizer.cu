// The optimizers: each pass walks a network's flat f32 arenas (len elements, a multiple of 16; gaps between parameters hold 0).
//
// adam_step:  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  p -= lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps),
//             t = steps + 1. 16 bytes of each arena per thread. The bias 1 - b^t is -expm1(t ln b), with ln b from the host:
//             b^t by powf would lose the digits that count while t is small.
// sgd_step:   m = momentum m + g;  p -= lr * m, or with Nesterov's momentum p -= lr * (g + momentum m).
//             _masters_bf16: also writes p rounded to nearest even, which is what the passes of a bf16 program read.
// lr is that of the schedule at `steps`, which every thread computes for itself: a replayed graph needs no new numbers.
// count_step: steps += 1, as a launch of its own: no thread of a step can see the new number.
// weight_decay_gradients:  g += decay * p over a range of both arenas. weight_decay_parameters: p -= lr * decay * p over one.
// clip_grad_norm_partial: sums of squares, a block of 256 threads every gridDim.x-th block of 4096 bytes; f32 runs, f64 totals.
// clip_grad_norm_total:   one block adds the partials in order, norm = sqrt(sum).
// clip_grad_norm_scale:   g *= max / (norm + 1e-6) where that is below 1 or NaN (a NaN must reach the parameters, where the
//             loss shows it); else nothing is read or written.
//
// Fuses: all of a network's parameters in one launch; the states' updates, bias correction, schedule and rounding in one reading.
// Shared memory: 64 bytes (partial), 256 bytes (total), none (others). Registers on sm_90: adam_step 39 or 40, sgd_step 24 or 25,
// count 8, weight_decay 18 and 15, partial 22, total 24, scale 16.
// One launch moves: adam_step 28*len bytes, 13 flops per element; sgd_step 20*len bytes, 4 flops (_masters_bf16 2*len bytes more);
// weight_decay 12*len or 8*len bytes, 2 flops; partial 4*len bytes, 2 flops; scale 8*len bytes when it clips.
// The number of partials depends on len alone, so that the norm has the same bits on every card. Block sizes were chosen
// without a GPU at hand.
#include "common.cuh"

constexpr u32 THREADS = 256, TOTAL_THREADS = 1024;

// Up to `warmup` steps linearly, then half a cosine to 0 at `steps`; constant where `steps` is 0.
struct Rate {
    float lr, warmup, steps;
};

__device__ __forceinline__ float rate_at(Rate r, float done) {
    if (r.steps == 0.0f) return r.lr;
    if (done < r.warmup) return r.lr * ((done + 1.0f) / r.warmup);
    if (done >= r.steps) return 0.0f;
    // (1 + cos x) / 2, without losing digits towards the end.
    const float c = cospif(0.5f * ((done - r.warmup) / (r.steps - r.warmup)));
    return r.lr * (c * c);
}

// Four parameters, rounded.
struct alignas(8) Rounded {
    bf16 v[4];
};
__device__ __forceinline__ void store_rounded(bf16* to, const Vec<float>& p) {
    Rounded rounded;
#pragma unroll
    for (u32 j = 0; j < 4; ++j) rounded.v[j] = from_f32<bf16>(p.v[j]);
    *reinterpret_cast<Rounded*>(to) = rounded;
}

struct AdamRates {
    Rate rate;
    float b1, c1, ln_b1, b2, c2, ln_b2, eps;
};

struct SgdRates {
    Rate rate;
    float momentum;
    u32 nesterov;
};

// `working` is null in f32.
template <bool ROUND>
__device__ __forceinline__ void adam_step(float* params, bf16* working, float* m, float* v, const float* grads,
                                          const float* steps, u32 len, AdamRates r) {
    const u32 at = (blockIdx.x * THREADS + threadIdx.x) * 4;
    if (at >= len) return;
    const float done = *steps, t = done + 1.0f;
    const float step = rate_at(r.rate, done) / -expm1f(t * r.ln_b1), root = 1.0f / sqrtf(-expm1f(t * r.ln_b2));
    const Vec<float> g = load16(grads + at);
    Vec<float> p = load16(params + at), first = load16(m + at), second = load16(v + at);
#pragma unroll
    for (u32 j = 0; j < 4; ++j) {
        first.v[j] = r.b1 * first.v[j] + r.c1 * g.v[j];
        second.v[j] = r.b2 * second.v[j] + r.c2 * g.v[j] * g.v[j];
        p.v[j] -= step * first.v[j] / (sqrtf(second.v[j]) * root + r.eps);
    }
    store16(m + at, first);
    store16(v + at, second);
    store16(params + at, p);
    if constexpr (ROUND) store_rounded(working + at, p);
}

template <bool ROUND>
__device__ __forceinline__ void sgd_step(float* params, bf16* working, float* momentum, const float* grads,
                                         const float* steps, u32 len, SgdRates r) {
    const u32 at = (blockIdx.x * THREADS + threadIdx.x) * 4;
    if (at >= len) return;
    const float lr = rate_at(r.rate, *steps);
    const Vec<float> g = load16(grads + at);
    Vec<float> p = load16(params + at), m = load16(momentum + at);
#pragma unroll
    for (u32 j = 0; j < 4; ++j) {
        m.v[j] = r.momentum * m.v[j] + g.v[j];
        p.v[j] -= lr * (r.nesterov ? g.v[j] + r.momentum * m.v[j] : m.v[j]);
    }
    store16(momentum + at, m);
    store16(params + at, p);
    if constexpr (ROUND) store_rounded(working + at, p);
}

__device__ __forceinline__ void clip_partial(float* partial, const float* grads, u32 len) {
    __shared__ double shared[THREADS / WARP];
    LongSum sum;
    // In u64: the last stride may step over 2^32.
    for (u64 i = (blockIdx.x * THREADS + threadIdx.x) * 4; i < len; i += (u64)gridDim.x * THREADS * 4) {
        const Vec<float> g = load16(grads + i);
        sum.add(g.v[0] * g.v[0] + g.v[1] * g.v[1] + (g.v[2] * g.v[2] + g.v[3] * g.v[3]));
    }
    const double total = block_sum(sum.result(), shared);
    if (threadIdx.x == 0) partial[blockIdx.x] = (float)total;
}

__device__ __forceinline__ void clip_total(float* norm, const float* partial, u32 count) {
    __shared__ double shared[TOTAL_THREADS / WARP];
    double sum = 0.0;
    for (u32 i = threadIdx.x; i < count; i += TOTAL_THREADS) sum += partial[i];
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) *norm = (float)sqrt(sum);
}

__device__ __forceinline__ void clip_scale(float* grads, const float* norm, u32 len, float max) {
    const float scale = max / (*norm + 1e-6f);
    const u32 at = (blockIdx.x * THREADS + threadIdx.x) * 4;
    if (scale >= 1.0f || at >= len) return;
    Vec<float> g = load16(grads + at);
#pragma unroll
    for (u32 j = 0; j < 4; ++j) g.v[j] *= scale;
    store16(grads + at, g);
}

extern "C" __global__ void __launch_bounds__(256) adam_step_f32(float* params, float* m, float* v, const float* grads, const float* steps, u32 len, AdamRates rates) { adam_step<false>(params, nullptr, m, v, grads, steps, len, rates); }
extern "C" __global__ void __launch_bounds__(256) adam_step_masters_bf16(float* params, bf16* working, float* m, float* v, const float* grads, const float* steps, u32 len, AdamRates rates) { adam_step<true>(params, working, m, v, grads, steps, len, rates); }
extern "C" __global__ void __launch_bounds__(256) sgd_step_f32(float* params, float* momentum, const float* grads, const float* steps, u32 len, SgdRates rates) { sgd_step<false>(params, nullptr, momentum, grads, steps, len, rates); }
extern "C" __global__ void __launch_bounds__(256) sgd_step_masters_bf16(float* params, bf16* working, float* momentum, const float* grads, const float* steps, u32 len, SgdRates rates) { sgd_step<true>(params, working, momentum, grads, steps, len, rates); }
extern "C" __global__ void __launch_bounds__(32) count_step_f32(float* steps) { if (threadIdx.x == 0) *steps += 1.0f; }
extern "C" __global__ void __launch_bounds__(256) clip_grad_norm_partial_f32(float* partial, const float* grads, u32 len) { clip_partial(partial, grads, len); }
extern "C" __global__ void __launch_bounds__(1024) clip_grad_norm_total_f32(float* norm, const float* partial, u32 count) { clip_total(norm, partial, count); }
extern "C" __global__ void __launch_bounds__(256) clip_grad_norm_scale_f32(float* grads, const float* norm, u32 len, float max) { clip_scale(grads, norm, len, max); }
extern "C" __global__ void __launch_bounds__(256) weight_decay_gradients_f32(float* grads, const float* params, u32 len, float decay) {
    const u32 at = (blockIdx.x * THREADS + threadIdx.x) * 4;
    if (at >= len) return;
    const Vec<float> p = load16(params + at);
    Vec<float> g = load16(grads + at);
#pragma unroll
    for (u32 j = 0; j < 4; ++j) g.v[j] += decay * p.v[j];
    store16(grads + at, g);
}
extern "C" __global__ void __launch_bounds__(256) weight_decay_parameters_f32(float* params, const float* steps, u32 len, float decay, Rate rate) {
    const u32 at = (blockIdx.x * THREADS + threadIdx.x) * 4;
    if (at >= len) return;
    const float share = rate_at(rate, *steps) * decay;
    Vec<float> p = load16(params + at);
#pragma unroll
    for (u32 j = 0; j < 4; ++j) p.v[j] -= share * p.v[j];
    store16(params + at, p);
}
