// Convolution: y = act(conv(x, w) + bias + residual), as an implicit matrix product; its gradients are in conv2d_bwd.cu:
//   y[pixel, k] = sum over (r, s, c)   x[pixel of tap, c] * w[k, r, s, c]
// Any filter size, stride, symmetric padding and channel count. No column buffer: the loaders of conv_load.cuh gather.
//
// Shapes: x (n, h, w, c); w (k, r, s, c); y, residual (n, oh, ow, k); bias (k); partial (splits, the result's shape), f32;
// moments (n, row tiles of an image, 2, k), f32.
//
// Threads: a block computes one tile of the product with the whole depth, or with one of `splits` equal parts of it, into
// `partial`; conv2d_reduce_splits then adds the parts in order, of gradients too, four numbers a thread. blockIdx.x, y =
// tile along rows and columns, blockIdx.z = split.
//            tile                              threads  slices  f32, results a thread  tensor cores, of a warp
//   _small   32x32                                  64       4  4x4                    32x16
//   _medium  64x64                                 128       4  4x8                    32x32
//            128x64                                128       3  8x8                    64x32
//   _large   128x128                               128       4  -                      64x64
// f32 multiplies with FFMA, the others with mma.sync m16n8k8 (tf32) or m16n8k16. `slices` are in shared memory at once.
//
// Shared memory: a ring of slices, each 64 bytes of depth of both operands, filled by cp.async of 16 bytes where channel
// counts keep chunks aligned, of 4 bytes (f32) or loads of single numbers (16-bit) elsewhere; operands with depth innermost
// are swizzled, the others padded, free of bank conflicts for cp.async, ldmatrix and 16-byte reads. The finished tile
// passes through it once more, so that results leave in 16-byte rows.
//   bytes: small 16,384, medium 32,768, 128x64 37,376, large 70,144, which the launch has to give
// Registers: README.md. Blocks that share a multiprocessor by them: 3 of 128x64 (168 each at most), 8 small, 4 medium,
// 2 large.
//
// Flops and bytes: 2 * n * oh * ow * k * r * s * c flops each. 3x3 from 512 to 512 channels, 5 images of 16x16, f32: 6.0
// GFLOP; x 2.6 MB, w 9.4 MB in, y 2.6 MB out; tiles read 283 MB, nearly all from L2 (21 flops a byte).
//
// Fuses: padding, bias, residual, activation, conversion to the storage type. For an instance norm right behind: with
// `moments` not null, mean and sum of squared deviations of the stored numbers, by channel and tile of rows, whose tiles
// then hold rows of one image each (64x64x64 in tiles of 128 rows: 32 times 512 bytes, instead of 1 MB to be read again).
// Where the depth is split instead, and the norm takes one launch, the norm adds the parts in place of conv2d_reduce_splits.
//
// Precision: sums are f32. A block sums 8,192 products at most (the host splits longer depths). tf32 operands are rounded
// to nearest (cvt.rna).
//
// Numbers: tiles, stages and the model by which the host picks tile and splits (src/engine/toolkit/cuda/tiling.rs) come from
// ptxas' register counts, shared memory per multiprocessor and published rates, without a GPU to time on. `ckaad tune`
// measures on one, and its choices take the model's place.
#include "conv_load.cuh"

template <class P, class Tile, class T>
__device__ __forceinline__ void conv2d_fwd(T* y, float* partial, float* moments, const T* x, const T* w, const T* bias,
                                           const T* residual, const Conv2d& p, u32 splits, float slope) {
    const u32 column0 = blockIdx.y * Tile::COLUMNS;
    const TileRows<Tile> rows(moments, p.n, p.oh * p.ow);
    const Part part(ceil_div(p.r * p.s * p.c, SLICE<T>), blockIdx.z, splits);
    PixelRows<T, Tile::ROWS, Tile::THREADS, 1> a(
        x, p.h, p.w, p.c, p.r, p.s, part.begin, [&](u32 i, u32& n, i32& iy, i32& ix) {
            first_pixel(p, rows.first + i, n, iy, ix);
            return rows.first + i < rows.end;
        });
    FilterRows<T, Tile::COLUMNS, Tile::THREADS> b(w, p, column0, part.begin);
    if (splits > 1) partial += static_cast<size_t>(blockIdx.z) * p.n * p.oh * p.ow * p.k;
    const Output<T> out{y, splits > 1 ? partial : nullptr, bias, residual, slope, p.k};
    multiply_and_store<P, Tile>(
        a, b, part.end - part.begin, out, Moments{moments, p.oh * p.ow, 1, p.k}, column0, p.k % LANES<T> == 0,
        [&](u32 i) { return rows.first + i < rows.end ? (rows.first + i) * p.k : NOWHERE; },
        [](u32 column) { return column; });
}

// y = act(sum of the splits' parts + bias + residual), `count` numbers in rows of k; one thread takes four, or one where
// four would not stay together.
template <class T>
__device__ __forceinline__ void conv2d_reduce_splits(T* y, const float* partial, const T* bias, const T* residual, u32 count,
                                                     u32 k, u32 splits, float slope) {
    const u32 thread = blockIdx.x * blockDim.x + threadIdx.x;
    if (count % 4 == 0) {
        const u32 at = thread * 4;
        if (at >= count) return;
        float v[4] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma unroll 4
        for (u32 i = 0; i < splits; ++i) {
            const float4 f = *reinterpret_cast<const float4*>(partial + static_cast<size_t>(i) * count + at);
            v[0] += f.x, v[1] += f.y, v[2] += f.z, v[3] += f.w;
        }
        struct alignas(4 * sizeof(T)) Four {
            T v[4];
        } four;
        if (bias && k % 4 == 0) {
            four = *reinterpret_cast<const Four*>(bias + at % k);
#pragma unroll
            for (u32 e = 0; e < 4; ++e) v[e] += to_f32(four.v[e]);
        } else if (bias) {
            u32 column = at % k;
#pragma unroll
            for (u32 e = 0; e < 4; ++e) {
                v[e] += to_f32(bias[column]);
                column = column + 1 == k ? 0 : column + 1;
            }
        }
        if (residual) {
            four = *reinterpret_cast<const Four*>(residual + at);
#pragma unroll
            for (u32 e = 0; e < 4; ++e) v[e] += to_f32(four.v[e]);
        }
#pragma unroll
        for (u32 e = 0; e < 4; ++e) four.v[e] = from_f32<T>(activate(v[e], slope));
        *reinterpret_cast<Four*>(y + at) = four;
    } else if (thread < count) {
        float v = 0.0f;
#pragma unroll 1
        for (u32 i = 0; i < splits; ++i) v += partial[static_cast<size_t>(i) * count + thread];
        if (bias) v += to_f32(bias[thread % k]);
        if (residual) v += to_f32(residual[thread]);
        y[thread] = from_f32<T>(activate(v, slope));
    }
}

extern "C" __global__ void __launch_bounds__(128, 3) conv2d_fwd_f32(
    float* y, float* partial, float* moments, const float* x, const float* w, const float* bias, const float* residual, Conv2d p,
    u32 splits, float slope) {
    conv2d_fwd<F32, Tall>(y, partial, moments, x, w, bias, residual, p, splits, slope);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv2d_fwd_tf32(
    float* y, float* partial, float* moments, const float* x, const float* w, const float* bias, const float* residual, Conv2d p,
    u32 splits, float slope) {
    conv2d_fwd<Tf32, Tall>(y, partial, moments, x, w, bias, residual, p, splits, slope);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv2d_fwd_bf16(
    bf16* y, float* partial, float* moments, const bf16* x, const bf16* w, const bf16* bias, const bf16* residual, Conv2d p,
    u32 splits, float slope) {
    conv2d_fwd<Bf16, Tall>(y, partial, moments, x, w, bias, residual, p, splits, slope);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv2d_fwd_f16(
    f16* y, float* partial, float* moments, const f16* x, const f16* w, const f16* bias, const f16* residual, Conv2d p,
    u32 splits, float slope) {
    conv2d_fwd<F16, Tall>(y, partial, moments, x, w, bias, residual, p, splits, slope);
}
extern "C" __global__ void __launch_bounds__(64, 8) conv2d_fwd_small_f32(
    float* y, float* partial, float* moments, const float* x, const float* w, const float* bias, const float* residual, Conv2d p,
    u32 splits, float slope) {
    conv2d_fwd<F32, Small>(y, partial, moments, x, w, bias, residual, p, splits, slope);
}
extern "C" __global__ void __launch_bounds__(64, 8) conv2d_fwd_small_tf32(
    float* y, float* partial, float* moments, const float* x, const float* w, const float* bias, const float* residual, Conv2d p,
    u32 splits, float slope) {
    conv2d_fwd<Tf32, Small>(y, partial, moments, x, w, bias, residual, p, splits, slope);
}
extern "C" __global__ void __launch_bounds__(64, 8) conv2d_fwd_small_bf16(
    bf16* y, float* partial, float* moments, const bf16* x, const bf16* w, const bf16* bias, const bf16* residual, Conv2d p,
    u32 splits, float slope) {
    conv2d_fwd<Bf16, Small>(y, partial, moments, x, w, bias, residual, p, splits, slope);
}
extern "C" __global__ void __launch_bounds__(64, 8) conv2d_fwd_small_f16(
    f16* y, float* partial, float* moments, const f16* x, const f16* w, const f16* bias, const f16* residual, Conv2d p,
    u32 splits, float slope) {
    conv2d_fwd<F16, Small>(y, partial, moments, x, w, bias, residual, p, splits, slope);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_fwd_medium_f32(
    float* y, float* partial, float* moments, const float* x, const float* w, const float* bias, const float* residual, Conv2d p,
    u32 splits, float slope) {
    conv2d_fwd<F32, Medium>(y, partial, moments, x, w, bias, residual, p, splits, slope);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_fwd_medium_tf32(
    float* y, float* partial, float* moments, const float* x, const float* w, const float* bias, const float* residual, Conv2d p,
    u32 splits, float slope) {
    conv2d_fwd<Tf32, Medium>(y, partial, moments, x, w, bias, residual, p, splits, slope);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_fwd_medium_bf16(
    bf16* y, float* partial, float* moments, const bf16* x, const bf16* w, const bf16* bias, const bf16* residual, Conv2d p,
    u32 splits, float slope) {
    conv2d_fwd<Bf16, Medium>(y, partial, moments, x, w, bias, residual, p, splits, slope);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_fwd_medium_f16(
    f16* y, float* partial, float* moments, const f16* x, const f16* w, const f16* bias, const f16* residual, Conv2d p,
    u32 splits, float slope) {
    conv2d_fwd<F16, Medium>(y, partial, moments, x, w, bias, residual, p, splits, slope);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_fwd_large_tf32(
    float* y, float* partial, float* moments, const float* x, const float* w, const float* bias, const float* residual, Conv2d p,
    u32 splits, float slope) {
    conv2d_fwd<Tf32, Large>(y, partial, moments, x, w, bias, residual, p, splits, slope);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_fwd_large_bf16(
    bf16* y, float* partial, float* moments, const bf16* x, const bf16* w, const bf16* bias, const bf16* residual, Conv2d p,
    u32 splits, float slope) {
    conv2d_fwd<Bf16, Large>(y, partial, moments, x, w, bias, residual, p, splits, slope);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_fwd_large_f16(
    f16* y, float* partial, float* moments, const f16* x, const f16* w, const f16* bias, const f16* residual, Conv2d p,
    u32 splits, float slope) {
    conv2d_fwd<F16, Large>(y, partial, moments, x, w, bias, residual, p, splits, slope);
}
extern "C" __global__ void __launch_bounds__(256) conv2d_reduce_splits_f32(
    float* y, const float* partial, const float* bias, const float* residual, u32 count, u32 k, u32 splits, float slope) {
    conv2d_reduce_splits(y, partial, bias, residual, count, k, splits, slope);
}
extern "C" __global__ void __launch_bounds__(256) conv2d_reduce_splits_bf16(
    bf16* y, const float* partial, const bf16* bias, const bf16* residual, u32 count, u32 k, u32 splits, float slope) {
    conv2d_reduce_splits(y, partial, bias, residual, count, k, splits, slope);
}
extern "C" __global__ void __launch_bounds__(256) conv2d_reduce_splits_f16(
    f16* y, const float* partial, const f16* bias, const f16* residual, u32 count, u32 k, u32 splits, float slope) {
    conv2d_reduce_splits(y, partial, bias, residual, count, k, splits, slope);
}
