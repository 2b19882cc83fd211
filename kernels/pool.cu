// Max and mean pooling with a square window: y[n, oy, ox, c] = the largest of, or the mean over, the window's positions.
// Padding counts as minus infinity to max, where NaN wins, and as zeros to mean, which divides by kernel * kernel always.
//
// Shapes: x (n, h, w, c), y (n, oh, ow, c), oh = (h + 2 * pad - kernel) / stride + 1.
//
// Threads: one a pack of neighbouring channels of y (16 bytes where c is a multiple of that, else one value), packs of
// one position side by side, so a warp reads and writes whole lines. Windows that overlap find their common positions
// in L1. Grid: (packs / 256, rounded up).
//
// Shared memory: none. Registers a thread (ptxas, sm_90): 32.
//
// Bytes and flops: the stem's pooling, 3x3 with stride 2, 8 x 128x128x64 in f32 reads 33.6 MB and writes 8.4 MB, 19 M
// comparisons: bound by memory, 12.5 us at 3.35 TB/s.
//
// Fuses nothing; the backbone's activation before it is in the convolution. Numbers: one pack a thread, chosen without
// a GPU.
#include "common.cuh"

struct Pool {
    u32 n, h, w, c, kernel, stride, pad, oh, ow;
};

struct Max {
    static __device__ __forceinline__ float start() { return __int_as_float(0xff800000); }
    static __device__ __forceinline__ float take(float y, float x) { return x > y || x != x ? x : y; }
    static __device__ __forceinline__ float finish(float y, const Pool&) { return y; }
};

struct Mean {
    static __device__ __forceinline__ float start() { return 0.0f; }
    static __device__ __forceinline__ float take(float y, float x) { return y + x; }
    static __device__ __forceinline__ float finish(float y, const Pool& p) { return y / (p.kernel * p.kernel); }
};

template <class Of, class T, u32 W>
__device__ __forceinline__ void pool_packs(T* __restrict__ y, const T* __restrict__ x, const Pool& p) {
    const u32 packs = p.c / W, i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.n * p.oh * p.ow * packs) return;
    const u32 channel = i % packs * W, position = i / packs;
    const u32 ox = position % p.ow, oy = position / p.ow % p.oh, image = position / p.ow / p.oh;
    // The window, cut to the input.
    const u32 top = max(oy * p.stride, p.pad) - p.pad, bottom = min(oy * p.stride + p.kernel - p.pad, p.h);
    const u32 left = max(ox * p.stride, p.pad) - p.pad, right = min(ox * p.stride + p.kernel - p.pad, p.w);
    float all[W];
#pragma unroll
    for (u32 k = 0; k < W; ++k) all[k] = Of::start();
    for (u32 iy = top; iy < bottom; ++iy) {
#pragma unroll 3
        for (u32 ix = left; ix < right; ++ix) {
            float f[W];
            unpack(f, load_pack<W>(x + ((image * p.h + iy) * p.w + ix) * p.c + channel));
#pragma unroll
            for (u32 k = 0; k < W; ++k) all[k] = Of::take(all[k], f[k]);
        }
    }
#pragma unroll
    for (u32 k = 0; k < W; ++k) all[k] = Of::finish(all[k], p);
    store_pack(y + position * p.c + channel, pack<T>(all));
}

template <class Of, class T> __device__ __forceinline__ void pool(T* y, const T* x, const Pool& p) {
    if (p.c % LANES<T> == 0) {
        pool_packs<Of, T, LANES<T>>(y, x, p);
    } else {
        pool_packs<Of, T, 1>(y, x, p);
    }
}

extern "C" __global__ void __launch_bounds__(256) max_pool_fwd_f32(float* y, const float* x, Pool p) {
    pool<Max>(y, x, p);
}
extern "C" __global__ void __launch_bounds__(256) max_pool_fwd_bf16(bf16* y, const bf16* x, Pool p) {
    pool<Max>(y, x, p);
}
extern "C" __global__ void __launch_bounds__(256) max_pool_fwd_f16(f16* y, const f16* x, Pool p) {
    pool<Max>(y, x, p);
}
extern "C" __global__ void __launch_bounds__(256) mean_pool_fwd_f32(float* y, const float* x, Pool p) {
    pool<Mean>(y, x, p);
}
extern "C" __global__ void __launch_bounds__(256) mean_pool_fwd_bf16(bf16* y, const bf16* x, Pool p) {
    pool<Mean>(y, x, p);
}
extern "C" __global__ void __launch_bounds__(256) mean_pool_fwd_f16(f16* y, const f16* x, Pool p) {
    pool<Mean>(y, x, p);
}
