// Gradients of the convolution of conv2d.cu, as implicit matrix products of its tiles and threads:
//   input    dx[pixel, c]     = sum over (r, s, k)   dy[pixel of tap, k] * w[k, r, s, c]
//   weight   dw[k, (r, s, c)] = sum over positions   dy[position, k] * x[pixel of tap, c]
//   bias     db[k]            = sum over positions   dy[position, k]
// The input gradient of a strided convolution is one product per stride phase (pixels that leave the same remainder), each with
// its own taps only: no product with a zero that a stride put there.
//
// Shapes: x, dx (n, h, w, c); w, dw (k, r, s, c); dy (n, oh, ow, k); db (k); partial (splits, the result's shape), f32. dw and db
// are f32 in all programs.
//
// Threads: as in conv2d.cu, but that bwd_weight has tiles of 64x128 (a warp's 32x64) where the others have 128x64. blockIdx.x, y =
// tile along rows and columns, blockIdx.z = phase * splits + split. conv2d_reduce_splits adds the parts.
// conv2d_bwd_bias: `lanes` threads (a power of two up to 32) side by side along the channels, 16 bytes each where k allows,
// 256 / lanes rows of them along the positions, added in a tree; one partial sum a block, added by conv2d_reduce_splits.
//
// Shared memory: as in conv2d.cu.
//   bytes: bwd_input, bwd_weight    small 18,432, 20,480    medium 34,816, 36,864    128x64 38,400, 39,936
//   large 70,144, which the launch has to give    bwd_bias 4,096 (16-bit 8,192)
// Registers: README.md. Flops, precision and numbers: conv2d.cu. Fuses: padding, conversion to the storage type.
#include "conv_load.cuh"

template <class P, class Tile, class T>
__device__ __forceinline__ void conv2d_bwd_input(T* dx, float* partial, const T* dy, const T* w, const Conv2d& p,
                                                 u32 splits) {
    const u32 split = blockIdx.z % splits, row0 = blockIdx.x * Tile::ROWS, column0 = blockIdx.y * Tile::COLUMNS;
    const PhasePixels pixels(p, blockIdx.z / splits);
    if (row0 >= pixels.rows) return;  // The grid fits the largest phase.
    const Part part(ceil_div(pixels.depth(p), SLICE<T>), split, splits);
    PixelRows<T, Tile::ROWS, Tile::THREADS, -1> a(
        dy, p.oh, p.ow, p.k, pixels.v.taps, pixels.taps_w, part.begin, [&](u32 i, u32& n, i32& oy, i32& ox) {
            pixels.first(row0 + i, n, oy, ox);
            return row0 + i < pixels.rows;
        });
    FilterColumns<T, Tile::COLUMNS, Tile::THREADS> b(w, p, pixels, column0, part.begin);
    if (splits > 1) partial += static_cast<size_t>(split) * p.n * p.h * p.w * p.c;
    const Output<T> out{dx, splits > 1 ? partial : nullptr, nullptr, nullptr, 1.0f, p.c};
    multiply_and_store<P, Tile>(
        a, b, part.end - part.begin, out, NoMoments{}, column0, p.c % LANES<T> == 0,
        [&](u32 i) { return row0 + i < pixels.rows ? pixels.place(p, row0 + i) : NOWHERE; },
        [](u32 column) { return column; });
}

template <class P, class Tile, class T>
__device__ __forceinline__ void conv2d_bwd_weight(float* dw, float* partial, const T* x, const T* dy, const Conv2d& p,
                                                  u32 splits) {
    const u32 row0 = blockIdx.x * Tile::ROWS, column0 = blockIdx.y * Tile::COLUMNS, columns = p.r * p.s * p.c;
    const Part part(ceil_div(p.n * p.oh * p.ow, SLICE<T>), blockIdx.z, splits);
    GradientColumns<T, Tile::ROWS, Tile::THREADS> a(dy, p, row0, part.begin);
    PixelColumns<T, Tile::COLUMNS, Tile::THREADS> b(x, p, column0, part.begin);
    if (splits > 1) partial += static_cast<size_t>(blockIdx.z) * p.k * columns;
    const Output<float> out{dw, splits > 1 ? partial : nullptr, nullptr, nullptr, 1.0f, columns};
    multiply_and_store<P, Tile>(
        a, b, part.end - part.begin, out, NoMoments{}, column0, p.c % LANES<float> == 0,
        [&](u32 i) { return row0 + i < p.k ? (row0 + i) * columns : NOWHERE; }, [](u32 column) { return column; });
}

// partial[blockIdx.x][k] = sum of dy over this block's positions. `lanes` (a power of two up to the block's size) threads
// lie side by side along the channels, each with as many as 16 bytes hold, or one where rows are not 16-byte aligned; the
// others take the next positions and are added up in a tree.
template <class T>
__device__ __forceinline__ void conv2d_bwd_bias(float* partial, const T* dy, u32 positions, u32 k, u32 each, u32 lanes) {
    constexpr u32 THREADS = 256;
    __shared__ float shared[LANES<T>][THREADS];
    const bool vectors = k % LANES<T> == 0;
    const u32 lane = threadIdx.x % lanes, group = threadIdx.x / lanes, groups = THREADS / lanes;
    const u32 column = (blockIdx.y * lanes + lane) * (vectors ? LANES<T> : 1);
    const u32 begin = min(blockIdx.x * each, positions), end = min(begin + each, positions);
    float sum[LANES<T>] = {};
    if (column < k) {
        for (u32 at = begin + group; at < end; at += groups) {
            if (vectors) {
                const Vec<T> v = load16(dy + static_cast<size_t>(at) * k + column);
#pragma unroll
                for (u32 e = 0; e < LANES<T>; ++e) sum[e] += to_f32(v.v[e]);
            } else {
                sum[0] += to_f32(dy[static_cast<size_t>(at) * k + column]);
            }
        }
    }
#pragma unroll
    for (u32 e = 0; e < LANES<T>; ++e) shared[e][threadIdx.x] = sum[e];
    for (u32 half = groups / 2; half > 0; half /= 2) {
        __syncthreads();
        if (group < half) {
#pragma unroll
            for (u32 e = 0; e < LANES<T>; ++e) {
                sum[e] += shared[e][threadIdx.x + half * lanes];
                shared[e][threadIdx.x] = sum[e];
            }
        }
    }
    if (group == 0 && column < k) {
        float* to = partial + static_cast<size_t>(blockIdx.x) * k + column;
        if (vectors) {
            store_floats(to, sum);
        } else {
            *to = sum[0];
        }
    }
}

extern "C" __global__ void __launch_bounds__(128, 3) conv2d_bwd_input_f32(
    float* dx, float* partial, const float* dy, const float* w, Conv2d p, u32 splits) {
    conv2d_bwd_input<F32, Tall>(dx, partial, dy, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv2d_bwd_input_tf32(
    float* dx, float* partial, const float* dy, const float* w, Conv2d p, u32 splits) {
    conv2d_bwd_input<Tf32, Tall>(dx, partial, dy, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv2d_bwd_input_bf16(
    bf16* dx, float* partial, const bf16* dy, const bf16* w, Conv2d p, u32 splits) {
    conv2d_bwd_input<Bf16, Tall>(dx, partial, dy, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv2d_bwd_input_f16(
    f16* dx, float* partial, const f16* dy, const f16* w, Conv2d p, u32 splits) {
    conv2d_bwd_input<F16, Tall>(dx, partial, dy, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv2d_bwd_weight_f32(
    float* dw, float* partial, const float* x, const float* dy, Conv2d p, u32 splits) {
    conv2d_bwd_weight<F32, Wide>(dw, partial, x, dy, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv2d_bwd_weight_tf32(
    float* dw, float* partial, const float* x, const float* dy, Conv2d p, u32 splits) {
    conv2d_bwd_weight<Tf32, Wide>(dw, partial, x, dy, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv2d_bwd_weight_bf16(
    float* dw, float* partial, const bf16* x, const bf16* dy, Conv2d p, u32 splits) {
    conv2d_bwd_weight<Bf16, Wide>(dw, partial, x, dy, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv2d_bwd_weight_f16(
    float* dw, float* partial, const f16* x, const f16* dy, Conv2d p, u32 splits) {
    conv2d_bwd_weight<F16, Wide>(dw, partial, x, dy, p, splits);
}
extern "C" __global__ void __launch_bounds__(64, 8) conv2d_bwd_input_small_f32(
    float* dx, float* partial, const float* dy, const float* w, Conv2d p, u32 splits) {
    conv2d_bwd_input<F32, Small>(dx, partial, dy, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(64, 8) conv2d_bwd_input_small_tf32(
    float* dx, float* partial, const float* dy, const float* w, Conv2d p, u32 splits) {
    conv2d_bwd_input<Tf32, Small>(dx, partial, dy, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(64, 8) conv2d_bwd_input_small_bf16(
    bf16* dx, float* partial, const bf16* dy, const bf16* w, Conv2d p, u32 splits) {
    conv2d_bwd_input<Bf16, Small>(dx, partial, dy, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(64, 8) conv2d_bwd_input_small_f16(
    f16* dx, float* partial, const f16* dy, const f16* w, Conv2d p, u32 splits) {
    conv2d_bwd_input<F16, Small>(dx, partial, dy, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(64, 8) conv2d_bwd_weight_small_f32(
    float* dw, float* partial, const float* x, const float* dy, Conv2d p, u32 splits) {
    conv2d_bwd_weight<F32, Small>(dw, partial, x, dy, p, splits);
}
extern "C" __global__ void __launch_bounds__(64, 8) conv2d_bwd_weight_small_tf32(
    float* dw, float* partial, const float* x, const float* dy, Conv2d p, u32 splits) {
    conv2d_bwd_weight<Tf32, Small>(dw, partial, x, dy, p, splits);
}
extern "C" __global__ void __launch_bounds__(64, 8) conv2d_bwd_weight_small_bf16(
    float* dw, float* partial, const bf16* x, const bf16* dy, Conv2d p, u32 splits) {
    conv2d_bwd_weight<Bf16, Small>(dw, partial, x, dy, p, splits);
}
extern "C" __global__ void __launch_bounds__(64, 8) conv2d_bwd_weight_small_f16(
    float* dw, float* partial, const f16* x, const f16* dy, Conv2d p, u32 splits) {
    conv2d_bwd_weight<F16, Small>(dw, partial, x, dy, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_bwd_input_medium_f32(
    float* dx, float* partial, const float* dy, const float* w, Conv2d p, u32 splits) {
    conv2d_bwd_input<F32, Medium>(dx, partial, dy, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_bwd_input_medium_tf32(
    float* dx, float* partial, const float* dy, const float* w, Conv2d p, u32 splits) {
    conv2d_bwd_input<Tf32, Medium>(dx, partial, dy, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_bwd_input_medium_bf16(
    bf16* dx, float* partial, const bf16* dy, const bf16* w, Conv2d p, u32 splits) {
    conv2d_bwd_input<Bf16, Medium>(dx, partial, dy, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_bwd_input_medium_f16(
    f16* dx, float* partial, const f16* dy, const f16* w, Conv2d p, u32 splits) {
    conv2d_bwd_input<F16, Medium>(dx, partial, dy, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_bwd_weight_medium_f32(
    float* dw, float* partial, const float* x, const float* dy, Conv2d p, u32 splits) {
    conv2d_bwd_weight<F32, Medium>(dw, partial, x, dy, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_bwd_weight_medium_tf32(
    float* dw, float* partial, const float* x, const float* dy, Conv2d p, u32 splits) {
    conv2d_bwd_weight<Tf32, Medium>(dw, partial, x, dy, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_bwd_weight_medium_bf16(
    float* dw, float* partial, const bf16* x, const bf16* dy, Conv2d p, u32 splits) {
    conv2d_bwd_weight<Bf16, Medium>(dw, partial, x, dy, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_bwd_weight_medium_f16(
    float* dw, float* partial, const f16* x, const f16* dy, Conv2d p, u32 splits) {
    conv2d_bwd_weight<F16, Medium>(dw, partial, x, dy, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_bwd_input_large_tf32(
    float* dx, float* partial, const float* dy, const float* w, Conv2d p, u32 splits) {
    conv2d_bwd_input<Tf32, Large>(dx, partial, dy, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_bwd_input_large_bf16(
    bf16* dx, float* partial, const bf16* dy, const bf16* w, Conv2d p, u32 splits) {
    conv2d_bwd_input<Bf16, Large>(dx, partial, dy, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_bwd_input_large_f16(
    f16* dx, float* partial, const f16* dy, const f16* w, Conv2d p, u32 splits) {
    conv2d_bwd_input<F16, Large>(dx, partial, dy, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_bwd_weight_large_tf32(
    float* dw, float* partial, const float* x, const float* dy, Conv2d p, u32 splits) {
    conv2d_bwd_weight<Tf32, Large>(dw, partial, x, dy, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_bwd_weight_large_bf16(
    float* dw, float* partial, const bf16* x, const bf16* dy, Conv2d p, u32 splits) {
    conv2d_bwd_weight<Bf16, Large>(dw, partial, x, dy, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_bwd_weight_large_f16(
    float* dw, float* partial, const f16* x, const f16* dy, Conv2d p, u32 splits) {
    conv2d_bwd_weight<F16, Large>(dw, partial, x, dy, p, splits);
}
extern "C" __global__ void __launch_bounds__(256) conv2d_bwd_bias_f32(
    float* partial, const float* dy, u32 positions, u32 k, u32 each, u32 lanes) {
    conv2d_bwd_bias(partial, dy, positions, k, each, lanes);
}
extern "C" __global__ void __launch_bounds__(256) conv2d_bwd_bias_bf16(
    float* partial, const bf16* dy, u32 positions, u32 k, u32 each, u32 lanes) {
    conv2d_bwd_bias(partial, dy, positions, k, each, lanes);
}
extern "C" __global__ void __launch_bounds__(256) conv2d_bwd_bias_f16(
    float* partial, const f16* dy, u32 positions, u32 k, u32 each, u32 lanes) {
    conv2d_bwd_bias(partial, dy, positions, k, each, lanes);
}
