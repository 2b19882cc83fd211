// Convolution: y = act(conv(x, w) + bias + residual), its input, weight and bias gradient, as implicit matrix products:
//   forward          y[pixel, k]      = sum over (r, s, c)   x[pixel of tap, c] * w[k, r, s, c]
//   input gradient   dx[pixel, c]     = sum over (r, s, k)   dy[pixel of tap, k] * w[k, r, s, c]
//   weight gradient  dw[k, (r, s, c)] = sum over positions   dy[position, k] * x[pixel of tap, c]
//   bias gradient    db[k]            = sum over positions   dy[position, k]
// Any filter size, stride, symmetric padding and channel count. No column buffer: the loaders of conv_load.cuh gather. The
// input gradient of a strided convolution is one product per stride phase (pixels that leave the same remainder), each with
// its own taps only: no product with a zero that a stride put there.
//
// Shapes: x, dx (n, h, w, c); w, dw (k, r, s, c); y, residual, dy (n, oh, ow, k); bias, db (k); partial (splits, the
// result's shape), f32; moments (n, row tiles of an image, 2, k), f32. dw and db are f32 in all programs.
//
// Threads: a block computes one tile of the product with the whole depth, or with one of `splits` equal parts of it, into
// `partial`; conv2d_reduce_splits then adds the parts in order, four numbers a thread. blockIdx.x, y = tile along rows and
// columns, blockIdx.z = phase * splits + split.
//            tile                              threads  slices  f32, results a thread  tensor cores, of a warp
//   _small   32x32                                  64       4  4x4                    32x16
//   _medium  64x64                                 128       4  4x8                    32x32
//            128x64; 64x128 for bwd_weight         128       3  8x8                    64x32; 32x64
//   _large   128x128                               128       4  -                      64x64
// f32 multiplies with FFMA, the others with mma.sync m16n8k8 (tf32) or m16n8k16. `slices` are in shared memory at once.
// conv2d_bwd_bias: `lanes` threads (a power of two up to 32) side by side along the channels, 16 bytes each where k allows,
// 256 / lanes rows of them along the positions, added in a tree; one partial sum a block, added by conv2d_reduce_splits.
//
// Shared memory: a ring of slices, each 64 bytes of depth of both operands, filled by cp.async of 16 bytes where channel
// counts keep chunks aligned, of 4 bytes (f32) or loads of single numbers (16-bit) elsewhere; operands with depth innermost
// are swizzled, the others padded, free of bank conflicts for cp.async, ldmatrix and 16-byte reads. The finished tile
// passes through it once more, so that results leave in 16-byte rows.
//   bytes: fwd, bwd_input, bwd_weight    small 16,384, 18,432, 20,480    medium 32,768, 34,816, 36,864
//   128x64 37,376, 38,400, 39,936    large 70,144, which the launch has to give    bwd_bias 4,096 (16-bit 8,192)
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
            const u32 row = rows.first + i, line = row / p.ow;
            n = line / p.oh;
            iy = static_cast<i32>(line % p.oh * p.stride_h) - static_cast<i32>(p.pad_h);
            ix = static_cast<i32>(row % p.ow * p.stride_w) - static_cast<i32>(p.pad_w);
            return row < rows.end;
        });
    FilterRows<T, Tile::COLUMNS, Tile::THREADS> b(w, p, column0, part.begin);
    if (splits > 1) partial += static_cast<size_t>(blockIdx.z) * p.n * p.oh * p.ow * p.k;
    const Output<T> out{y, splits > 1 ? partial : nullptr, bias, residual, slope, p.k};
    multiply_and_store<P, Tile>(
        a, b, part.end - part.begin, out, Moments{moments, p.oh * p.ow, 1, p.k}, column0, p.k % LANES<T> == 0,
        [&](u32 i) { return rows.first + i < rows.end ? (rows.first + i) * p.k : NOWHERE; },
        [](u32 column) { return column; });
}

// One axis of the input gradient of a strided convolution. Pixels whose place in the padded input leaves the same
// remainder `phase` by the stride are reached by the same taps, phase + stride * t, from output position q - t, where
// q = place / stride.
struct Phase {
    u32 phase, stride, pad, first, count, taps;

    __device__ __forceinline__ Phase(u32 phase, u32 size, u32 kernel, u32 stride, u32 pad)
        : phase(phase), stride(stride), pad(pad) {
        first = pad > phase ? ceil_div(pad - phase, stride) : 0;
        const u32 behind = size + pad > phase ? ceil_div(size + pad - phase, stride) : 0;
        count = behind > first ? behind - first : 0;
        taps = kernel > phase ? ceil_div(kernel - phase, stride) : 0;
    }
    __device__ __forceinline__ u32 pixel(u32 i) const { return (first + i) * stride + phase - pad; }
};

template <class P, class Tile, class T>
__device__ __forceinline__ void conv2d_bwd_input(T* dx, float* partial, const T* dy, const T* w, const Conv2d& p,
                                                 u32 splits) {
    const u32 split = blockIdx.z % splits, phase = blockIdx.z / splits;
    const Phase v(phase / p.stride_w, p.h, p.r, p.stride_h, p.pad_h);
    const Phase u(phase % p.stride_w, p.w, p.s, p.stride_w, p.pad_w);
    const u32 rows = p.n * v.count * u.count, row0 = blockIdx.x * Tile::ROWS, column0 = blockIdx.y * Tile::COLUMNS;
    if (row0 >= rows) return;  // The grid fits the largest phase.
    const Part part(ceil_div(v.taps * u.taps * p.k, SLICE<T>), split, splits);
    const u32 taps_w = max(u.taps, 1u);
    PixelRows<T, Tile::ROWS, Tile::THREADS, -1> a(
        dy, p.oh, p.ow, p.k, v.taps, taps_w, part.begin, [&](u32 i, u32& n, i32& oy, i32& ox) {
            const u32 row = row0 + i, line = row / u.count;
            n = line / v.count;
            oy = static_cast<i32>(v.first + line % v.count);
            ox = static_cast<i32>(u.first + row % u.count);
            return row < rows;
        });
    FilterColumns<T, Tile::COLUMNS, Tile::THREADS> b(w, p, v.phase, u.phase, v.taps, taps_w, column0, part.begin);
    if (splits > 1) partial += static_cast<size_t>(split) * p.n * p.h * p.w * p.c;
    const Output<T> out{dx, splits > 1 ? partial : nullptr, nullptr, nullptr, 1.0f, p.c};
    multiply_and_store<P, Tile>(
        a, b, part.end - part.begin, out, NoMoments{}, column0, p.c % LANES<T> == 0,
        [&](u32 i) {
            const u32 row = row0 + i, line = row / u.count;
            const u32 place = ((line / v.count * p.h + v.pixel(line % v.count)) * p.w + u.pixel(row % u.count)) * p.c;
            return row < rows ? place : NOWHERE;
        },
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
