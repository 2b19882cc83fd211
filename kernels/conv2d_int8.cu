// Convolution and transposed convolution of bytes with 8-bit weights, as an implicit matrix product with exact sums in 32 bits:
//   y = act(sum * scale[channel] * factor + bias + residual), sum = the convolution of x - zero with w in whole numbers
// y leaves as f32 or as bytes again. Any filter size, stride, symmetric padding and channel count.
//
// Shapes: of the convolution x (n, h, w, c), w (k, r, s, c), y and residual (n, oh, ow, k), scale and bias (k); transposed, as in
// conv_transpose2d.cu, x (n, oh, ow, k), w (k, r, s, c), y and residual (n, h, w, c), scale and bias (c).
//
// Threads and tiles as in conv2d.cu, of which one block computes one with the whole depth: sums of whole numbers need no splits to
// be exact. blockIdx.x, y = tile; transposed, blockIdx.z = phase of the stride, as in conv2d_bwd_input. Slices are 64 bytes deep, that
// is 64 numbers, and are multiplied by mma.sync m16n8k32: _u8 with bytes as they are, _s8 (zero = 128) with their highest bit flipped,
// which makes each the signed byte x - 128. Padding is the byte of 0 in either, so no sum has to be corrected.
//
// Shared memory: a ring of slices as in conv2d.cu. Filters of the convolution lie by their rows; those of the transposed one by
// their depth, and change sides on the way to registers (conv_gemm.cuh). Channels that are no multiple of 16 come byte by byte.
// Bytes of it, of which _large has to be given by the launch, and registers: README.md.
//
// Flops and bytes: 3x3 from 64 to 64 channels, 64x64, zero = 0: 0.3 G operations; 0.26 MB of x, 0.04 MB of w, 0.26 MB of y. What 16-bit
// numbers take, in half of the instructions and bytes.
//
// Fuses: padding, scales, bias, residual, activation, conversion to bytes, operation by operation as the CPU has it
// (src/engine/toolkit/cpu/int8/store.rs).
// Numbers: those of conv2d.cu, without a GPU to time on.
#include "bytes.cuh"
#include "conv_load.cuh"

// Multiplies `slices` slices and stores the tile whose first column is `column0`; `row_at(i)` is where row i of the tile begins in
// the result, or NOWHERE.
template <class P, class Tile, class A, class B, class RowAt>
__device__ __forceinline__ void multiply_and_finish(A& a, B& b, u32 slices, const Finished& out, u32 column0, RowAt row_at) {
    using Product = TensorCores<P, Tile, typename A::Layout, typename B::Layout>;
    constexpr u32 STAGE = A::Layout::BYTES + B::Layout::BYTES;
    // mma.sync's rows, four of two columns or two of four, share no bank.
    constexpr u32 STRIDE = Tile::COLUMNS + (Product::INTERLEAVED ? 16 : 8);
    constexpr u32 RESULT = Tile::ROWS * STRIDE * 4;
    constexpr u32 BYTES = Tile::STAGES * STAGE > RESULT + Tile::ROWS * 4 ? Tile::STAGES * STAGE : RESULT + Tile::ROWS * 4;
    u8* const shared = shared_memory<BYTES>();
    Product product;
    multiply_slices<Tile>(shared, a, b, slices, product);

    i32* result = reinterpret_cast<i32*>(shared);
    u32* places = reinterpret_cast<u32*>(shared + RESULT);
    product.put(result, STRIDE);
    for (u32 i = threadIdx.x; i < Tile::ROWS; i += Tile::THREADS) places[i] = row_at(i);
    __syncthreads();
    // A thread has the same four columns in every PASS-th row.
    constexpr u32 CHUNKS = Tile::COLUMNS / 4, PASS = Tile::THREADS / CHUNKS;
    static_assert(PASS * CHUNKS == Tile::THREADS);
    const u32 first = threadIdx.x % CHUNKS * 4, column = column0 + first;
    if (column >= out.columns) return;
    const u32 count = min(4u, out.columns - column);
    const bool vectors = out.columns % 4 == 0;
    float scales[4], biases[4];
    out.load(column, scales, biases, count, vectors);
#pragma unroll 1
    for (u32 i = threadIdx.x / CHUNKS; i < Tile::ROWS; i += PASS) {
        const u32 place = places[i];
        if (place == NOWHERE) continue;
        const int4 sums = *reinterpret_cast<const int4*>(result + i * STRIDE + first);
        out.store(place + column, sums, scales, biases, count, vectors);
    }
}

template <class P, class Tile>
__device__ __forceinline__ void conv2d_int8_fwd(const u8* x, const i8* w, const Conv2d& p, const Finished& out) {
    const u32 row0 = blockIdx.x * Tile::ROWS, column0 = blockIdx.y * Tile::COLUMNS, rows = p.n * p.oh * p.ow;
    PixelRows<u8, Tile::ROWS, Tile::THREADS, 1, P::ZERO> a(x, p.h, p.w, p.c, p.r, p.s, 0,
                                                           [&](u32 i, u32& n, i32& iy, i32& ix) {
                                                               first_pixel(p, row0 + i, n, iy, ix);
                                                               return row0 + i < rows;
                                                           });
    FilterRows<i8, Tile::COLUMNS, Tile::THREADS> b(w, p, column0, 0);
    multiply_and_finish<P, Tile>(a, b, ceil_div(p.r * p.s * p.c, SLICE<u8>), out, column0,
                                 [&](u32 i) { return row0 + i < rows ? (row0 + i) * p.k : NOWHERE; });
}

template <class P, class Tile>
__device__ __forceinline__ void conv_transpose2d_int8_fwd(const u8* x, const i8* w, const Conv2d& p, const Finished& out) {
    const u32 row0 = blockIdx.x * Tile::ROWS, column0 = blockIdx.y * Tile::COLUMNS;
    const PhasePixels pixels(p, blockIdx.z);
    if (row0 >= pixels.rows) return;  // The grid fits the largest phase.
    PixelRows<u8, Tile::ROWS, Tile::THREADS, -1, P::ZERO> a(x, p.oh, p.ow, p.k, pixels.v.taps, pixels.taps_w, 0,
                                                            [&](u32 i, u32& n, i32& oy, i32& ox) {
                                                                pixels.first(row0 + i, n, oy, ox);
                                                                return row0 + i < pixels.rows;
                                                            });
    FilterColumns<i8, Tile::COLUMNS, Tile::THREADS> b(w, p, pixels, column0, 0);
    multiply_and_finish<P, Tile>(
        a, b, ceil_div(pixels.depth(p), SLICE<u8>), out, column0,
        [&](u32 i) { return row0 + i < pixels.rows ? pixels.place(p, row0 + i) : NOWHERE; });
}

extern "C" __global__ void __launch_bounds__(128, 3) conv2d_int8_fwd_u8(
    float* y, u8* bytes, const u8* x, const i8* w, const float* scale, const float* bias, const float* residual,
    const u8* residual_bytes, Conv2d p, Int8Finish by) {
    conv2d_int8_fwd<U8, Tall>(x, w, p, {y, bytes, scale, bias, residual, residual_bytes, by, p.k});
}
extern "C" __global__ void __launch_bounds__(128, 3) conv2d_int8_fwd_s8(
    float* y, u8* bytes, const u8* x, const i8* w, const float* scale, const float* bias, const float* residual,
    const u8* residual_bytes, Conv2d p, Int8Finish by) {
    conv2d_int8_fwd<S8, Tall>(x, w, p, {y, bytes, scale, bias, residual, residual_bytes, by, p.k});
}
extern "C" __global__ void __launch_bounds__(64, 8) conv2d_int8_fwd_small_u8(
    float* y, u8* bytes, const u8* x, const i8* w, const float* scale, const float* bias, const float* residual,
    const u8* residual_bytes, Conv2d p, Int8Finish by) {
    conv2d_int8_fwd<U8, Small>(x, w, p, {y, bytes, scale, bias, residual, residual_bytes, by, p.k});
}
extern "C" __global__ void __launch_bounds__(64, 8) conv2d_int8_fwd_small_s8(
    float* y, u8* bytes, const u8* x, const i8* w, const float* scale, const float* bias, const float* residual,
    const u8* residual_bytes, Conv2d p, Int8Finish by) {
    conv2d_int8_fwd<S8, Small>(x, w, p, {y, bytes, scale, bias, residual, residual_bytes, by, p.k});
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_int8_fwd_medium_u8(
    float* y, u8* bytes, const u8* x, const i8* w, const float* scale, const float* bias, const float* residual,
    const u8* residual_bytes, Conv2d p, Int8Finish by) {
    conv2d_int8_fwd<U8, Medium>(x, w, p, {y, bytes, scale, bias, residual, residual_bytes, by, p.k});
}
extern "C" __global__ void __launch_bounds__(128, 4) conv2d_int8_fwd_medium_s8(
    float* y, u8* bytes, const u8* x, const i8* w, const float* scale, const float* bias, const float* residual,
    const u8* residual_bytes, Conv2d p, Int8Finish by) {
    conv2d_int8_fwd<S8, Medium>(x, w, p, {y, bytes, scale, bias, residual, residual_bytes, by, p.k});
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_int8_fwd_large_u8(
    float* y, u8* bytes, const u8* x, const i8* w, const float* scale, const float* bias, const float* residual,
    const u8* residual_bytes, Conv2d p, Int8Finish by) {
    conv2d_int8_fwd<U8, Large>(x, w, p, {y, bytes, scale, bias, residual, residual_bytes, by, p.k});
}
extern "C" __global__ void __launch_bounds__(128, 2) conv2d_int8_fwd_large_s8(
    float* y, u8* bytes, const u8* x, const i8* w, const float* scale, const float* bias, const float* residual,
    const u8* residual_bytes, Conv2d p, Int8Finish by) {
    conv2d_int8_fwd<S8, Large>(x, w, p, {y, bytes, scale, bias, residual, residual_bytes, by, p.k});
}
extern "C" __global__ void __launch_bounds__(128, 3) conv_transpose2d_int8_fwd_u8(
    float* y, u8* bytes, const u8* x, const i8* w, const float* scale, const float* bias, const float* residual,
    const u8* residual_bytes, Conv2d p, Int8Finish by) {
    conv_transpose2d_int8_fwd<U8, Tall>(x, w, p, {y, bytes, scale, bias, residual, residual_bytes, by, p.c});
}
extern "C" __global__ void __launch_bounds__(128, 3) conv_transpose2d_int8_fwd_s8(
    float* y, u8* bytes, const u8* x, const i8* w, const float* scale, const float* bias, const float* residual,
    const u8* residual_bytes, Conv2d p, Int8Finish by) {
    conv_transpose2d_int8_fwd<S8, Tall>(x, w, p, {y, bytes, scale, bias, residual, residual_bytes, by, p.c});
}
extern "C" __global__ void __launch_bounds__(64, 8) conv_transpose2d_int8_fwd_small_u8(
    float* y, u8* bytes, const u8* x, const i8* w, const float* scale, const float* bias, const float* residual,
    const u8* residual_bytes, Conv2d p, Int8Finish by) {
    conv_transpose2d_int8_fwd<U8, Small>(x, w, p, {y, bytes, scale, bias, residual, residual_bytes, by, p.c});
}
extern "C" __global__ void __launch_bounds__(64, 8) conv_transpose2d_int8_fwd_small_s8(
    float* y, u8* bytes, const u8* x, const i8* w, const float* scale, const float* bias, const float* residual,
    const u8* residual_bytes, Conv2d p, Int8Finish by) {
    conv_transpose2d_int8_fwd<S8, Small>(x, w, p, {y, bytes, scale, bias, residual, residual_bytes, by, p.c});
}
extern "C" __global__ void __launch_bounds__(128, 4) conv_transpose2d_int8_fwd_medium_u8(
    float* y, u8* bytes, const u8* x, const i8* w, const float* scale, const float* bias, const float* residual,
    const u8* residual_bytes, Conv2d p, Int8Finish by) {
    conv_transpose2d_int8_fwd<U8, Medium>(x, w, p, {y, bytes, scale, bias, residual, residual_bytes, by, p.c});
}
extern "C" __global__ void __launch_bounds__(128, 4) conv_transpose2d_int8_fwd_medium_s8(
    float* y, u8* bytes, const u8* x, const i8* w, const float* scale, const float* bias, const float* residual,
    const u8* residual_bytes, Conv2d p, Int8Finish by) {
    conv_transpose2d_int8_fwd<S8, Medium>(x, w, p, {y, bytes, scale, bias, residual, residual_bytes, by, p.c});
}
extern "C" __global__ void __launch_bounds__(128, 2) conv_transpose2d_int8_fwd_large_u8(
    float* y, u8* bytes, const u8* x, const i8* w, const float* scale, const float* bias, const float* residual,
    const u8* residual_bytes, Conv2d p, Int8Finish by) {
    conv_transpose2d_int8_fwd<U8, Large>(x, w, p, {y, bytes, scale, bias, residual, residual_bytes, by, p.c});
}
extern "C" __global__ void __launch_bounds__(128, 2) conv_transpose2d_int8_fwd_large_s8(
    float* y, u8* bytes, const u8* x, const i8* w, const float* scale, const float* bias, const float* residual,
    const u8* residual_bytes, Conv2d p, Int8Finish by) {
    conv_transpose2d_int8_fwd<S8, Large>(x, w, p, {y, bytes, scale, bias, residual, residual_bytes, by, p.c});
}
