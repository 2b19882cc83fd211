// The terms of a discriminator's losses, over elements begin..end of its outputs E (n, h, w, 1):
//   0, low:        y = mean |E|,                    dE = dy/count * sign(E)
//   1, high:       y = mean max(0, margin - |E|),   dE = |E| <= margin ? -dy/count * sign(E) : 0
//   2, real:       y = mean ln(1 + exp(-E)),        dE = -dy/count / (1 + exp(E))
//   3, generated:  y = mean ln(1 + exp(E)),         dE = dy/count / (1 + exp(-E))
// and dE = 0 outside of begin..end. sign(0) = 0; NaN reaches y.
//
// fwd: one block of 1024 threads walks the range; runs of 64 values are added in f32, the runs in f64, in a fixed order.
//      E has one value per map position, a few thousand: a second launch would cost more than it saves.
// bwd: 16 bytes per thread, the elements behind the last whole 16 bytes by the threads after them.
//
// Fuses: the absolute value, the hinge, the logistic, the mean over a part of the batch; the zeros outside of it.
// Shared memory: 256 bytes (fwd), none (bwd). Registers on sm_90: fwd 25, bwd 22 (f32), 24 (16 bits).
// One launch moves, with e = bytes of an element: fwd e*count bytes, 3 flops per element; bwd 2*e*n*h*w bytes, 2 per element.
// Block sizes were chosen without a GPU at hand.
#include "common.cuh"

constexpr u32 FWD_THREADS = 1024;

enum Term : u32 { LOW, HIGH, REAL, GENERATED };

__device__ __forceinline__ float value(float e, u32 term, float margin) {
    const float size = fabsf(e);
    if (term == LOW) return size;
    if (term == HIGH) return margin - size < 0.0f ? 0.0f : margin - size;
    const float x = term == REAL ? -e : e;
    return (x < 0.0f ? 0.0f : x) + log1pf(expf(-size));
}

__device__ __forceinline__ float slope(float e, u32 term, float margin) {
    const float sign = e > 0.0f ? 1.0f : e < 0.0f ? -1.0f : 0.0f;
    if (term == LOW) return sign;
    if (term == HIGH) return fabsf(e) <= margin ? -sign : 0.0f;
    return term == REAL ? -1.0f / (1.0f + expf(e)) : 1.0f / (1.0f + expf(-e));
}

template <class T>
__device__ __forceinline__ void energy_fwd(float* y, const T* e, u32 begin, u32 end, u32 term, float margin) {
    __shared__ double shared[FWD_THREADS / WARP];
    LongSum sum;
#pragma unroll 4
    for (u32 i = begin + threadIdx.x; i < end; i += FWD_THREADS) {
        sum.add(value(to_f32(e[i]), term, margin));
    }
    const double total = block_sum(sum.result(), shared);
    if (threadIdx.x == 0) *y = (float)(total / (end - begin));
}

template <class T>
__device__ __forceinline__ void energy_bwd(T* de, const float* dy, const T* e, u32 len, u32 begin, u32 end, u32 term,
                                           float margin) {
    const float scale = *dy / (end - begin);
    const auto gradient = [=](u32 i, T element) {
        return from_f32<T>(i >= begin && i < end ? scale * slope(to_f32(element), term, margin) : 0.0f);
    };
    const u32 thread = blockIdx.x * blockDim.x + threadIdx.x, vectors = len / LANES<T>;
    if (thread < vectors) {
        const u32 at = thread * LANES<T>;
        Vec<T> v = load16(e + at);
#pragma unroll
        for (u32 j = 0; j < LANES<T>; ++j) v.v[j] = gradient(at + j, v.v[j]);
        store16(de + at, v);
    } else {
        const u32 at = vectors * LANES<T> + (thread - vectors);
        if (at < len) de[at] = gradient(at, e[at]);
    }
}

extern "C" __global__ void __launch_bounds__(1024) energy_fwd_f32(float* y, const float* e, u32 begin, u32 end, u32 term, float margin) { energy_fwd(y, e, begin, end, term, margin); }
extern "C" __global__ void __launch_bounds__(1024) energy_fwd_bf16(float* y, const bf16* e, u32 begin, u32 end, u32 term, float margin) { energy_fwd(y, e, begin, end, term, margin); }
extern "C" __global__ void __launch_bounds__(1024) energy_fwd_f16(float* y, const f16* e, u32 begin, u32 end, u32 term, float margin) { energy_fwd(y, e, begin, end, term, margin); }
extern "C" __global__ void __launch_bounds__(256) energy_bwd_f32(float* de, const float* dy, const float* e, u32 len, u32 begin, u32 end, u32 term, float margin) { energy_bwd(de, dy, e, len, begin, end, term, margin); }
extern "C" __global__ void __launch_bounds__(256) energy_bwd_bf16(bf16* de, const float* dy, const bf16* e, u32 len, u32 begin, u32 end, u32 term, float margin) { energy_bwd(de, dy, e, len, begin, end, term, margin); }
extern "C" __global__ void __launch_bounds__(256) energy_bwd_f16(f16* de, const float* dy, const f16* e, u32 len, u32 begin, u32 end, u32 term, float margin) { energy_bwd(de, dy, e, len, begin, end, term, margin); }
