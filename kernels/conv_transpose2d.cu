// Transposed convolution whose taps neither overlap nor leave a pixel out (kernel = stride, no padding; 2x2 stride 2 in the
// decoder): y[n, r * i + a, s * j + b, c] = sum over k of x[n, i, j, k] * w[k, a, b, c]. One matrix product of all input
// pixels with the channels of all taps, (n * oh * ow) x k x (r * s * c), its columns scattered to their pixels when stored
// (pixel shuffle). Other geometries are conv2d_bwd_input; the gradients are a convolution and its weight gradient.
//
// Shapes (names of the convolution this is the adjoint of): x (n, oh, ow, k), w (k, r, s, c), y (n, h, w, c); moments
// (n, r * s * row tiles of an image, 2, c), f32.
//
// Threads, tiles, stages and epilogue as in conv2d.cu; blockIdx.x, y = tile, blockIdx.z = split of the depth, whose parts
// conv2d_reduce_splits adds.
// Shared memory: 38,400 bytes, _small 18,432, _medium 34,816, _large 70,144 (given by the launch). Registers (ptxas, sm_90),
// f32 / tf32 / 16-bit: 167 / 140 / 167, _small 103 / 85 / 96, _medium 123 / 96 / 116, _large - / 216 / 243.
//
// Flops and bytes: 2 * n * oh * ow * k * r * s * c flops. From 512 channels of 5 images of 16x16 to 256 of 32x32, f32: 1.3
// GFLOP; x 2.6 MB, w 2.1 MB in, y 5.2 MB out.
//
// Fuses: the pixel shuffle, conversion to the storage type, what conv2d_fwd leaves for an instance norm.
// Numbers: those of conv2d.cu, without a GPU to time on.
#include "conv_load.cuh"

template <class P, class Tile, class T>
__device__ __forceinline__ void conv_transpose2d_fwd(T* y, float* partial, float* moments, const T* x, const T* w,
                                                     const Conv2d& p, u32 splits) {
    const u32 all = p.n * p.oh * p.ow, column0 = blockIdx.y * Tile::COLUMNS;
    const TileRows<Tile> rows(moments, p.n, p.oh * p.ow);
    // The filters as those of a 1x1 convolution from all taps' channels.
    Conv2d flat = p;
    flat.c = p.r * p.s * p.c, flat.r = flat.s = flat.stride_h = flat.stride_w = 1;
    const Part part(ceil_div(p.k, SLICE<T>), blockIdx.z, splits);
    PixelRows<T, Tile::ROWS, Tile::THREADS, 1> a(x, 1, all, p.k, 1, 1, part.begin,
                                                 [&](u32 i, u32& n, i32& row, i32& column) {
                                                     n = 0, row = 0, column = static_cast<i32>(rows.first + i);
                                                     return rows.first + i < rows.end;
                                                 });
    FilterColumns<T, Tile::COLUMNS, Tile::THREADS> b(w, flat, 0, 0, 1, 1, column0, part.begin);
    if (splits > 1) partial += static_cast<size_t>(blockIdx.z) * all * flat.c;
    const Output<T> out{y, splits > 1 ? partial : nullptr, nullptr, nullptr, 1.0f, flat.c};
    multiply_and_store<P, Tile>(
        a, b, part.end - part.begin, out, Moments{moments, p.oh * p.ow, p.r * p.s, p.c}, column0, p.c % LANES<T> == 0,
        [&](u32 i) {
            const u32 row = rows.first + i, line = row / p.ow;
            return row < rows.end ? (line * p.r * p.w + row % p.ow * p.s) * p.c : NOWHERE;
        },
        [&](u32 column) {
            const u32 line = p.s * p.c;
            return column / line * p.w * p.c + column % line;
        });
}

extern "C" __global__ void __launch_bounds__(128, 3) conv_transpose2d_fwd_f32(
    float* y, float* partial, float* moments, const float* x, const float* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<F32, Tall>(y, partial, moments, x, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv_transpose2d_fwd_tf32(
    float* y, float* partial, float* moments, const float* x, const float* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<Tf32, Tall>(y, partial, moments, x, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv_transpose2d_fwd_bf16(
    bf16* y, float* partial, float* moments, const bf16* x, const bf16* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<Bf16, Tall>(y, partial, moments, x, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv_transpose2d_fwd_f16(
    f16* y, float* partial, float* moments, const f16* x, const f16* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<F16, Tall>(y, partial, moments, x, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(64, 8) conv_transpose2d_fwd_small_f32(
    float* y, float* partial, float* moments, const float* x, const float* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<F32, Small>(y, partial, moments, x, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(64, 8) conv_transpose2d_fwd_small_tf32(
    float* y, float* partial, float* moments, const float* x, const float* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<Tf32, Small>(y, partial, moments, x, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(64, 8) conv_transpose2d_fwd_small_bf16(
    bf16* y, float* partial, float* moments, const bf16* x, const bf16* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<Bf16, Small>(y, partial, moments, x, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(64, 8) conv_transpose2d_fwd_small_f16(
    f16* y, float* partial, float* moments, const f16* x, const f16* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<F16, Small>(y, partial, moments, x, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv_transpose2d_fwd_medium_f32(
    float* y, float* partial, float* moments, const float* x, const float* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<F32, Medium>(y, partial, moments, x, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv_transpose2d_fwd_medium_tf32(
    float* y, float* partial, float* moments, const float* x, const float* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<Tf32, Medium>(y, partial, moments, x, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv_transpose2d_fwd_medium_bf16(
    bf16* y, float* partial, float* moments, const bf16* x, const bf16* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<Bf16, Medium>(y, partial, moments, x, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 4) conv_transpose2d_fwd_medium_f16(
    f16* y, float* partial, float* moments, const f16* x, const f16* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<F16, Medium>(y, partial, moments, x, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv_transpose2d_fwd_large_tf32(
    float* y, float* partial, float* moments, const float* x, const float* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<Tf32, Large>(y, partial, moments, x, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv_transpose2d_fwd_large_bf16(
    bf16* y, float* partial, float* moments, const bf16* x, const bf16* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<Bf16, Large>(y, partial, moments, x, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 2) conv_transpose2d_fwd_large_f16(
    f16* y, float* partial, float* moments, const f16* x, const f16* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<F16, Large>(y, partial, moments, x, w, p, splits);
}
