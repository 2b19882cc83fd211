// Max and mean pooling with a square window: y[n, oy, ox, c] = the largest of, or the mean over, the window's positions.
// Padding counts as minus infinity to max, where NaN wins, and as zeros to mean, which divides by kernel * kernel always.
//
// max_pool_fwd_u8 is of bytes, whose order is that of what they stand for.
//
// max_pool_fwd_indexed, in training, also writes at[n, oy, ox, c], a byte: which tap of its window, row by row, the maximum is;
// of equals the first, of NaN the last, and the first tap inside the input where all are minus infinity, as PyTorch.
//
// bwd: dx[n, y, x, c] = the sum of dy over the windows that cover the position, times 1 / (kernel * kernel) for mean; for max of
// those whose maximum it is. Gathered, windows in row-major order: no atomics, the same bits in every run.
//
// Shapes: x, dx (n, h, w, c), y, dy, at (n, oh, ow, c), oh = (h + 2 * pad - kernel) / stride + 1.
//
// Threads: one a pack of neighbouring channels of y, or of dx (16 bytes where c is a multiple of that, else one value), packs of
// one position side by side, so a warp reads and writes whole lines. Windows that overlap find their common positions
// in L1, and so do positions that share a window. Grid: (packs / 256, rounded up).
//
// Shared memory: none. Registers a thread (ptxas, sm_90): fwd 32, indexed 40 (f32) and 48 (16
// bits), bwd 40, of mean 32.
//
// Bytes and flops: the stem's pooling, 3x3 with stride 2, 8 x 128x128x64 in f32 reads 33.6 MB and writes 8.4 MB, 19 M
// comparisons: bound by memory, 12.5 us at 3.35 TB/s. In training it writes 2.1 MB more, and its gradient reads 10.5 MB and writes
// 33.6 MB; to compare again would read another 33.6 MB.
//
// Fuses nothing; the backbone's activation before it is in the convolution. Numbers: one pack a thread, chosen without
// a GPU.
#include "common.cuh"

struct Pool {
    u32 n, h, w, c, kernel, stride, pad, oh, ow;
};

struct Max {
    static constexpr bool INDEXED = false;
    static __device__ __forceinline__ float start() { return __int_as_float(0xff800000); }
    static __device__ __forceinline__ bool wins(float y, float x) { return x > y || x != x; }
    static __device__ __forceinline__ float take(float y, float x) { return wins(y, x) ? x : y; }
    static __device__ __forceinline__ float finish(float y, const Pool&) { return y; }
};

struct MaxIndexed : Max {
    static constexpr bool INDEXED = true;
};

struct Mean {
    static constexpr bool INDEXED = false;
    static __device__ __forceinline__ float start() { return 0.0f; }
    static __device__ __forceinline__ float take(float y, float x) { return y + x; }
    static __device__ __forceinline__ float finish(float y, const Pool& p) { return y / (p.kernel * p.kernel); }
};

// A byte for each of W channels that lie side by side.
template <u32 W> struct alignas(W) Bytes {
    u8 v[W];
};

template <class Of, class T, u32 W>
__device__ __forceinline__ void pool_packs(T* __restrict__ y, u8* __restrict__ at, const T* __restrict__ x, const Pool& p) {
    const u32 packs = p.c / W, i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.n * p.oh * p.ow * packs) return;
    const u32 channel = i % packs * W, position = i / packs;
    const u32 ox = position % p.ow, oy = position / p.ow % p.oh, image = position / p.ow / p.oh;
    // The window, cut to the input.
    const u32 top = max(oy * p.stride, p.pad) - p.pad, bottom = min(oy * p.stride + p.kernel - p.pad, p.h);
    const u32 left = max(ox * p.stride, p.pad) - p.pad, right = min(ox * p.stride + p.kernel - p.pad, p.w);
    // Minus where the window begins: added to a position, its tap.
    const u32 first = (p.pad - oy * p.stride) * p.kernel + p.pad - ox * p.stride;
    float all[W];
    u32 taps[W];
#pragma unroll
    for (u32 k = 0; k < W; ++k) {
        all[k] = Of::start();
        taps[k] = first + top * p.kernel + left;
    }
    for (u32 iy = top; iy < bottom; ++iy) {
#pragma unroll 3
        for (u32 ix = left; ix < right; ++ix) {
            float f[W];
            unpack(f, load_pack<W>(x + ((image * p.h + iy) * p.w + ix) * p.c + channel));
#pragma unroll
            for (u32 k = 0; k < W; ++k) {
                if constexpr (Of::INDEXED) taps[k] = Of::wins(all[k], f[k]) ? first + iy * p.kernel + ix : taps[k];
                all[k] = Of::take(all[k], f[k]);
            }
        }
    }
#pragma unroll
    for (u32 k = 0; k < W; ++k) all[k] = Of::finish(all[k], p);
    store_pack(y + position * p.c + channel, pack<T>(all));
    if constexpr (Of::INDEXED) {
        Bytes<W> bytes;
#pragma unroll
        for (u32 k = 0; k < W; ++k) bytes.v[k] = static_cast<u8>(taps[k]);
        *reinterpret_cast<Bytes<W>*>(at + position * p.c + channel) = bytes;
    }
}

template <class Of, class T> __device__ __forceinline__ void pool(T* y, u8* at, const T* x, const Pool& p) {
    if (p.c % LANES<T> == 0) {
        pool_packs<Of, T, LANES<T>>(y, at, x, p);
    } else {
        pool_packs<Of, T, 1>(y, at, x, p);
    }
}

// Windows that cover coordinate i: from the first to the one before the end.
__device__ __forceinline__ void covering(u32& first, u32& end, u32 i, u32 out, const Pool& p) {
    const u32 at = i + p.pad;
    first = at < p.kernel ? 0 : (at - p.kernel) / p.stride + 1;
    end = min(at / p.stride + 1, out);
}

// `at` is null for mean.
template <class T, u32 W>
__device__ __forceinline__ void pool_bwd_packs(T* __restrict__ dx, const T* __restrict__ dy, const u8* __restrict__ at,
                                               const Pool& p) {
    const u32 packs = p.c / W, i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.n * p.h * p.w * packs) return;
    const u32 channel = i % packs * W, position = i / packs;
    const u32 ix = position % p.w, iy = position / p.w % p.h, image = position / p.w / p.h;
    u32 top, bottom, left, right;
    covering(top, bottom, iy, p.oh, p);
    covering(left, right, ix, p.ow, p);
    float sum[W];
#pragma unroll
    for (u32 k = 0; k < W; ++k) sum[k] = 0.0f;
    // Few windows cover a position: four of them side by side would mostly be code.
#pragma unroll 1
    for (u32 oy = top; oy < bottom; ++oy) {
#pragma unroll 2
        for (u32 ox = left; ox < right; ++ox) {
            const u32 from = ((image * p.oh + oy) * p.ow + ox) * p.c + channel;
            float f[W];
            unpack(f, load_pack<W>(dy + from));
            if (at) {
                const u32 tap = (iy + p.pad - oy * p.stride) * p.kernel + ix + p.pad - ox * p.stride;
                const Bytes<W> bytes = *reinterpret_cast<const Bytes<W>*>(at + from);
#pragma unroll
                for (u32 k = 0; k < W; ++k) sum[k] += bytes.v[k] == tap ? f[k] : 0.0f;
            } else {
#pragma unroll
                for (u32 k = 0; k < W; ++k) sum[k] += f[k];
            }
        }
    }
    if (!at) {
#pragma unroll
        for (u32 k = 0; k < W; ++k) sum[k] = Mean::finish(sum[k], p);
    }
    store_pack(dx + position * p.c + channel, pack<T>(sum));
}

template <class T> __device__ __forceinline__ void pool_bwd(T* dx, const T* dy, const u8* at, const Pool& p) {
    if (p.c % LANES<T> == 0) {
        pool_bwd_packs<T, LANES<T>>(dx, dy, at, p);
    } else {
        pool_bwd_packs<T, 1>(dx, dy, at, p);
    }
}

extern "C" __global__ void __launch_bounds__(256) max_pool_fwd_f32(float* y, const float* x, Pool p) {
    pool<Max>(y, nullptr, x, p);
}
extern "C" __global__ void __launch_bounds__(256) max_pool_fwd_bf16(bf16* y, const bf16* x, Pool p) {
    pool<Max>(y, nullptr, x, p);
}
extern "C" __global__ void __launch_bounds__(256) max_pool_fwd_f16(f16* y, const f16* x, Pool p) {
    pool<Max>(y, nullptr, x, p);
}
extern "C" __global__ void __launch_bounds__(256) max_pool_fwd_u8(u8* y, const u8* x, Pool p) {
    pool<Max>(y, nullptr, x, p);
}
extern "C" __global__ void __launch_bounds__(256) mean_pool_fwd_f32(float* y, const float* x, Pool p) {
    pool<Mean>(y, nullptr, x, p);
}
extern "C" __global__ void __launch_bounds__(256) mean_pool_fwd_bf16(bf16* y, const bf16* x, Pool p) {
    pool<Mean>(y, nullptr, x, p);
}
extern "C" __global__ void __launch_bounds__(256) mean_pool_fwd_f16(f16* y, const f16* x, Pool p) {
    pool<Mean>(y, nullptr, x, p);
}
extern "C" __global__ void __launch_bounds__(256) max_pool_fwd_indexed_f32(float* y, u8* at, const float* x, Pool p) {
    pool<MaxIndexed>(y, at, x, p);
}
extern "C" __global__ void __launch_bounds__(256) max_pool_fwd_indexed_bf16(bf16* y, u8* at, const bf16* x, Pool p) {
    pool<MaxIndexed>(y, at, x, p);
}
extern "C" __global__ void __launch_bounds__(256) max_pool_fwd_indexed_f16(f16* y, u8* at, const f16* x, Pool p) {
    pool<MaxIndexed>(y, at, x, p);
}
extern "C" __global__ void __launch_bounds__(256) max_pool_bwd_f32(float* dx, const float* dy, const u8* at, Pool p) {
    pool_bwd(dx, dy, at, p);
}
extern "C" __global__ void __launch_bounds__(256) max_pool_bwd_bf16(bf16* dx, const bf16* dy, const u8* at, Pool p) {
    pool_bwd(dx, dy, at, p);
}
extern "C" __global__ void __launch_bounds__(256) max_pool_bwd_f16(f16* dx, const f16* dy, const u8* at, Pool p) {
    pool_bwd(dx, dy, at, p);
}
extern "C" __global__ void __launch_bounds__(256) mean_pool_bwd_f32(float* dx, const float* dy, Pool p) {
    pool_bwd(dx, dy, nullptr, p);
}
extern "C" __global__ void __launch_bounds__(256) mean_pool_bwd_bf16(bf16* dx, const bf16* dy, Pool p) {
    pool_bwd(dx, dy, nullptr, p);
}
extern "C" __global__ void __launch_bounds__(256) mean_pool_bwd_f16(f16* dx, const f16* dy, Pool p) {
    pool_bwd(dx, dy, nullptr, p);
}
