// The terms of the energy losses, over elements begin..end of the energies E (n, h, w, 1):
//   low:  y = mean |E|,                    dE = dy/count * sign(E)
//   high: y = mean max(0, margin - |E|),   dE = |E| <= margin ? -dy/count * sign(E) : 0
// and dE = 0 outside of begin..end. sign(0) = 0; NaN reaches y.
//
// fwd: one block of 1024 threads walks the range; runs of 64 values are added in f32, the runs in f64, in a fixed order.
//      E has one value per map position, a few thousand: a second launch would cost more than it saves.
// bwd: 16 bytes per thread, the elements behind the last whole 16 bytes by the threads after them.
//
// Fuses: the absolute value, the hinge, the mean over a part of the batch; the zeros outside of it.
// Shared memory: 256 bytes (fwd), none (bwd). Registers on sm_90: REGISTERS
// One launch moves, with e = bytes of an element: fwd e*count bytes, 3 flops per element; bwd 2*e*n*h*w bytes, 2 per element.
// Block sizes were chosen without a GPU at hand.
#include "common.cuh"

constexpr u32 FWD_THREADS = 1024;

template <class T>
__device__ __forceinline__ void energy_fwd(float* y, const T* e, u32 begin, u32 end, u32 high, float margin) {
    __shared__ double shared[FWD_THREADS / WARP];
    LongSum sum;
#pragma unroll 4
    for (u32 i = begin + threadIdx.x; i < end; i += FWD_THREADS) {
        const float size = fabsf(to_f32(e[i])), below = margin - size;
        sum.add(!high ? size : below < 0.0f ? 0.0f : below);
    }
    const double total = block_sum(sum.result(), shared);
    if (threadIdx.x == 0) *y = (float)(total / (end - begin));
}

template <class T>
__device__ __forceinline__ void energy_bwd(T* de, const float* dy, const T* e, u32 len, u32 begin, u32 end, u32 high,
                                           float margin) {
    const float scale = *dy / (end - begin);
    const auto gradient = [=](u32 i, T element) {
        const float x = to_f32(element);
        const float sign = x > 0.0f ? scale : x < 0.0f ? -scale : 0.0f;
        const float d = !high ? sign : fabsf(x) <= margin ? -sign : 0.0f;
        return from_f32<T>(i >= begin && i < end ? d : 0.0f);
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

extern "C" __global__ void __launch_bounds__(1024) energy_fwd_f32(float* y, const float* e, u32 begin, u32 end, u32 high, float margin) { energy_fwd(y, e, begin, end, high, margin); }
extern "C" __global__ void __launch_bounds__(1024) energy_fwd_bf16(float* y, const bf16* e, u32 begin, u32 end, u32 high, float margin) { energy_fwd(y, e, begin, end, high, margin); }
extern "C" __global__ void __launch_bounds__(1024) energy_fwd_f16(float* y, const f16* e, u32 begin, u32 end, u32 high, float margin) { energy_fwd(y, e, begin, end, high, margin); }
extern "C" __global__ void __launch_bounds__(256) energy_bwd_f32(float* de, const float* dy, const float* e, u32 len, u32 begin, u32 end, u32 high, float margin) { energy_bwd(de, dy, e, len, begin, end, high, margin); }
extern "C" __global__ void __launch_bounds__(256) energy_bwd_bf16(bf16* de, const float* dy, const bf16* e, u32 len, u32 begin, u32 end, u32 high, float margin) { energy_bwd(de, dy, e, len, begin, end, high, margin); }
extern "C" __global__ void __launch_bounds__(256) energy_bwd_f16(f16* de, const float* dy, const f16* e, u32 len, u32 begin, u32 end, u32 high, float margin) { energy_bwd(de, dy, e, len, begin, end, high, margin); }
