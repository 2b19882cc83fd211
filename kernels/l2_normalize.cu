// Every position's channel vector to length 1: y = x * inverse, inverse = 1 / max(|x|, 1e-12); and its gradient
// dx = inverse * (dy - y * (y . dy)), without the second term where the length was clamped.
//
// Shapes: x, y, dy, dx (rows, c), rows = n * h * w; inverse (rows), always f32 (it does not fit f16 where x is tiny).
//
// Threads: 256 as 256 / lanes rows by `lanes` threads (a power of two up to 32), which take every lanes-th pack of the
// row: 16 bytes where c is a multiple of that, else one value. Grid: (rows * lanes / 256, rounded up). The vector is
// read for its length, then again, from L1, to be scaled.
//
// Shared memory: none; sums are shuffles within a row's lanes, in fixed order. Registers a thread (f32 / 16-bit,
// ptxas, sm_90): fwd 22 / 32, bwd 30 / 32.
//
// Bytes and flops: forward of 5 x 64x64 x 256 in f32: 21.0 MB in, 21.0 MB out, 3 flops a value, 15.7 MFLOP: bound by
// memory, 12.5 us at 3.35 TB/s; backward 41.9 MB in, 21.0 MB out, 5 flops a value.
//
// Fuses the lengths that backward needs. Numbers: up to a warp a row, chosen without a GPU.
#include "common.cuh"

constexpr float EPS = 1e-12f;

template <class T, u32 W>
__device__ __forceinline__ void fwd_packs(T* __restrict__ y, float* inverse, const T* __restrict__ x, u32 rows, u32 c,
                                          u32 lanes) {
    const u32 row = (blockIdx.x * blockDim.x + threadIdx.x) / lanes, lane = threadIdx.x % lanes;
    // Threads behind the last row take part in the shuffles, with nothing to sum.
    const u32 length = row < rows ? c : 0;
    x += row * length, y += row * length;
    float squares = 0.0f, f[W];
#pragma unroll 4
    for (u32 i = lane * W; i < length; i += lanes * W) {
        unpack(f, load_pack<W>(x + i));
#pragma unroll
        for (u32 k = 0; k < W; ++k) squares += f[k] * f[k];
    }
    const float norm = sqrtf(warp_sum(squares, lanes));
    // Written so that NaN passes through.
    const float inv = 1.0f / (norm <= EPS ? EPS : norm);
    if (lane == 0 && row < rows) inverse[row] = inv;
#pragma unroll 4
    for (u32 i = lane * W; i < length; i += lanes * W) {
        unpack(f, load_pack<W>(x + i));
#pragma unroll
        for (u32 k = 0; k < W; ++k) f[k] *= inv;
        store_pack(y + i, pack<T>(f));
    }
}

template <class T> __device__ __forceinline__ void fwd(T* y, float* inverse, const T* x, u32 rows, u32 c, u32 lanes) {
    if (c % LANES<T> == 0) {
        fwd_packs<T, LANES<T>>(y, inverse, x, rows, c, lanes);
    } else {
        fwd_packs<T, 1>(y, inverse, x, rows, c, lanes);
    }
}

template <class T, u32 W>
__device__ __forceinline__ void bwd_packs(T* __restrict__ dx, const T* __restrict__ dy, const T* __restrict__ y,
                                          const float* inverse, u32 rows, u32 c, u32 lanes) {
    const u32 row = (blockIdx.x * blockDim.x + threadIdx.x) / lanes, lane = threadIdx.x % lanes;
    const u32 length = row < rows ? c : 0;
    dx += row * length, dy += row * length, y += row * length;
    float along = 0.0f, d[W], f[W];
#pragma unroll 2
    for (u32 i = lane * W; i < length; i += lanes * W) {
        unpack(d, load_pack<W>(dy + i));
        unpack(f, load_pack<W>(y + i));
#pragma unroll
        for (u32 k = 0; k < W; ++k) along += d[k] * f[k];
    }
    along = warp_sum(along, lanes);
    if (row >= rows) return;
    const float inv = inverse[row];
    // Where the length was clamped, y is a constant times x.
    if (inv >= 1.0f / EPS) along = 0.0f;
#pragma unroll 2
    for (u32 i = lane * W; i < length; i += lanes * W) {
        unpack(d, load_pack<W>(dy + i));
        unpack(f, load_pack<W>(y + i));
#pragma unroll
        for (u32 k = 0; k < W; ++k) d[k] = inv * (d[k] - f[k] * along);
        store_pack(dx + i, pack<T>(d));
    }
}

template <class T>
__device__ __forceinline__ void bwd(T* dx, const T* dy, const T* y, const float* inverse, u32 rows, u32 c, u32 lanes) {
    if (c % LANES<T> == 0) {
        bwd_packs<T, LANES<T>>(dx, dy, y, inverse, rows, c, lanes);
    } else {
        bwd_packs<T, 1>(dx, dy, y, inverse, rows, c, lanes);
    }
}

extern "C" __global__ void __launch_bounds__(256)
    l2_normalize_fwd_f32(float* y, float* inverse, const float* x, u32 rows, u32 c, u32 lanes) {
    fwd(y, inverse, x, rows, c, lanes);
}
extern "C" __global__ void __launch_bounds__(256)
    l2_normalize_fwd_bf16(bf16* y, float* inverse, const bf16* x, u32 rows, u32 c, u32 lanes) {
    fwd(y, inverse, x, rows, c, lanes);
}
extern "C" __global__ void __launch_bounds__(256)
    l2_normalize_fwd_f16(f16* y, float* inverse, const f16* x, u32 rows, u32 c, u32 lanes) {
    fwd(y, inverse, x, rows, c, lanes);
}
extern "C" __global__ void __launch_bounds__(256)
    l2_normalize_bwd_f32(float* dx, const float* dy, const float* y, const float* inverse, u32 rows, u32 c, u32 lanes) {
    bwd(dx, dy, y, inverse, rows, c, lanes);
}
extern "C" __global__ void __launch_bounds__(256)
    l2_normalize_bwd_bf16(bf16* dx, const bf16* dy, const bf16* y, const float* inverse, u32 rows, u32 c, u32 lanes) {
    bwd(dx, dy, y, inverse, rows, c, lanes);
}
extern "C" __global__ void __launch_bounds__(256)
    l2_normalize_bwd_f16(f16* dx, const f16* dy, const f16* y, const float* inverse, u32 rows, u32 c, u32 lanes) {
    bwd(dx, dy, y, inverse, rows, c, lanes);
}
