// Element by element, and scalars:
// activate_fwd      y = x < 0 ? slope * x : x
// activate_bwd      dx = y > 0 ? dy : slope * dy
// add_fwd           y = a + b
// fill_fwd          y = value
// weighted_sum_fwd  y = sum of weight_i * x_i over up to 8 scalars
// weighted_sum_bwd  dx = weight * dy, scalars
//
// Shapes: all tensors n elements. y may be x (or a), dx may be dy: each thread reads what it overwrites, before.
//
// Threads: one a pack of 16 bytes, the last n % (values in a pack) by the first threads one by one.
// Grid: (n / 256 / values in a pack, rounded up); the weighted sum is one thread.
//
// Shared memory: none. Registers a thread (ptxas, sm_90): 10 to 26.
//
// Bytes and flops: activate_fwd over 5 x 64x64 x 64 in f32: 5.2 MB in, 5.2 MB out, 1.3 MFLOP; 3.1 us at 3.35 TB/s.
// activate_bwd and add_fwd read twice as much.
//
// Fuses nothing: activations and sums that can be are fused into the op before them. Numbers: one pack a thread, chosen
// without a GPU.
#include "common.cuh"

// Calls pack_at(i) for the pack at element i and one_at(i) for single elements behind the last pack.
template <class T, class P, class O> __device__ __forceinline__ void elements(u32 n, P pack_at, O one_at) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x, packs = n / LANES<T>;
    if (i < packs) pack_at(i * LANES<T>);
    if (i < n % LANES<T>) one_at(packs * LANES<T> + i);
}

template <u32 W, class T> __device__ __forceinline__ void activate_at(T* y, const T* x, u32 i, float slope) {
    float f[W];
    unpack(f, load_pack<W>(x + i));
#pragma unroll
    for (u32 k = 0; k < W; ++k) f[k] = activate(f[k], slope);
    store_pack(y + i, pack<T>(f));
}

template <class T> __device__ __forceinline__ void activate_fwd(T* y, const T* x, u32 n, float slope) {
    elements<T>(
        n, [&](u32 i) { activate_at<LANES<T>>(y, x, i, slope); }, [&](u32 i) { activate_at<1>(y, x, i, slope); });
}

template <u32 W, class T>
__device__ __forceinline__ void activate_bwd_at(T* dx, const T* dy, const T* y, u32 i, float slope) {
    float d[W], f[W];
    unpack(d, load_pack<W>(dy + i));
    unpack(f, load_pack<W>(y + i));
#pragma unroll
    for (u32 k = 0; k < W; ++k) d[k] *= activation_slope(f[k], slope);
    store_pack(dx + i, pack<T>(d));
}

template <class T> __device__ __forceinline__ void activate_bwd(T* dx, const T* dy, const T* y, u32 n, float slope) {
    elements<T>(
        n, [&](u32 i) { activate_bwd_at<LANES<T>>(dx, dy, y, i, slope); },
        [&](u32 i) { activate_bwd_at<1>(dx, dy, y, i, slope); });
}

template <u32 W, class T> __device__ __forceinline__ void add_at(T* y, const T* a, const T* b, u32 i) {
    float f[W], g[W];
    unpack(f, load_pack<W>(a + i));
    unpack(g, load_pack<W>(b + i));
#pragma unroll
    for (u32 k = 0; k < W; ++k) f[k] += g[k];
    store_pack(y + i, pack<T>(f));
}

template <class T> __device__ __forceinline__ void add_fwd(T* y, const T* a, const T* b, u32 n) {
    elements<T>(
        n, [&](u32 i) { add_at<LANES<T>>(y, a, b, i); }, [&](u32 i) { add_at<1>(y, a, b, i); });
}

template <u32 W, class T> __device__ __forceinline__ void fill_at(T* y, u32 i, float value) {
    float f[W];
#pragma unroll
    for (u32 k = 0; k < W; ++k) f[k] = value;
    store_pack(y + i, pack<T>(f));
}

template <class T> __device__ __forceinline__ void fill_fwd(T* y, u32 n, float value) {
    elements<T>(
        n, [&](u32 i) { fill_at<LANES<T>>(y, i, value); }, [&](u32 i) { fill_at<1>(y, i, value); });
}

extern "C" __global__ void __launch_bounds__(256) activate_fwd_f32(float* y, const float* x, u32 n, float slope) {
    activate_fwd(y, x, n, slope);
}
extern "C" __global__ void __launch_bounds__(256) activate_fwd_bf16(bf16* y, const bf16* x, u32 n, float slope) {
    activate_fwd(y, x, n, slope);
}
extern "C" __global__ void __launch_bounds__(256) activate_fwd_f16(f16* y, const f16* x, u32 n, float slope) {
    activate_fwd(y, x, n, slope);
}
extern "C" __global__ void __launch_bounds__(256)
    activate_bwd_f32(float* dx, const float* dy, const float* y, u32 n, float slope) {
    activate_bwd(dx, dy, y, n, slope);
}
extern "C" __global__ void __launch_bounds__(256)
    activate_bwd_bf16(bf16* dx, const bf16* dy, const bf16* y, u32 n, float slope) {
    activate_bwd(dx, dy, y, n, slope);
}
extern "C" __global__ void __launch_bounds__(256)
    activate_bwd_f16(f16* dx, const f16* dy, const f16* y, u32 n, float slope) {
    activate_bwd(dx, dy, y, n, slope);
}
extern "C" __global__ void __launch_bounds__(256) add_fwd_f32(float* y, const float* a, const float* b, u32 n) {
    add_fwd(y, a, b, n);
}
extern "C" __global__ void __launch_bounds__(256) add_fwd_bf16(bf16* y, const bf16* a, const bf16* b, u32 n) {
    add_fwd(y, a, b, n);
}
extern "C" __global__ void __launch_bounds__(256) add_fwd_f16(f16* y, const f16* a, const f16* b, u32 n) {
    add_fwd(y, a, b, n);
}
extern "C" __global__ void __launch_bounds__(256) fill_fwd_f32(float* y, u32 n, float value) { fill_fwd(y, n, value); }

struct Weights {
    u32 count;
    float weight[8];
};

extern "C" __global__ void __launch_bounds__(32)
    weighted_sum_fwd_f32(float* y, const float* x0, const float* x1, const float* x2, const float* x3, const float* x4,
                         const float* x5, const float* x6, const float* x7, Weights w) {
    const float* const x[8] = {x0, x1, x2, x3, x4, x5, x6, x7};
    if (threadIdx.x != 0) return;
    float sum = 0.0f;
#pragma unroll
    for (u32 i = 0; i < 8; ++i) {
        if (i < w.count) sum += w.weight[i] * *x[i];
    }
    *y = sum;
}

extern "C" __global__ void __launch_bounds__(32) weighted_sum_bwd_f32(float* dx, const float* dy, float weight) {
    if (threadIdx.x == 0) *dx = weight * *dy;
}
