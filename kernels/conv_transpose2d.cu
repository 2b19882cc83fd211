// HEAD
#include "conv_load.cuh"

template <class P, class Tile, class T>
__device__ __forceinline__ void conv_transpose2d_fwd(T* y, float* partial, const T* x, const T* w, const Conv2d& p,
                                                     u32 splits) {
    const u32 rows = p.n * p.oh * p.ow, row0 = blockIdx.x * Tile::ROWS, column0 = blockIdx.y * Tile::COLUMNS;
    // The filters as those of a 1x1 convolution from all taps' channels.
    Conv2d flat = p;
    flat.c = p.r * p.s * p.c, flat.r = flat.s = flat.stride_h = flat.stride_w = 1;
    const Part part(ceil_div(p.k, SLICE<T>), blockIdx.z, splits);
    PixelRows<T, Tile::ROWS, Tile::THREADS, 1> a(x, 1, rows, p.k, 1, 1, part.begin,
                                                 [&](u32 i, u32& n, i32& row, i32& column) {
                                                     n = 0, row = 0, column = static_cast<i32>(row0 + i);
                                                     return row0 + i < rows;
                                                 });
    FilterColumns<T, Tile::COLUMNS, Tile::THREADS> b(w, flat, 0, 0, 1, 1, column0, part.begin);
    if (splits > 1) partial += static_cast<size_t>(blockIdx.z) * rows * flat.c;
    const Output<T> out{y, splits > 1 ? partial : nullptr, nullptr, nullptr, 1.0f, flat.c};
    multiply_and_store<P, Tile>(
        a, b, part.end - part.begin, out, column0, p.c % LANES<T> == 0,
        [&](u32 i) {
            const u32 row = row0 + i, line = row / p.ow;
            return row < rows ? (line * p.r * p.w + row % p.ow * p.s) * p.c : NOWHERE;
        },
        [&](u32 column) {
            const u32 line = p.s * p.c;
            return column / line * p.w * p.c + column % line;
        });
}

extern "C" __global__ void __launch_bounds__(128, 3) conv_transpose2d_fwd_f32(
    float* y, float* partial, const float* x, const float* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<F32, Tall>(y, partial, x, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv_transpose2d_fwd_tf32(
    float* y, float* partial, const float* x, const float* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<Tf32, Tall>(y, partial, x, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv_transpose2d_fwd_bf16(
    bf16* y, float* partial, const bf16* x, const bf16* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<Bf16, Tall>(y, partial, x, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(128, 3) conv_transpose2d_fwd_f16(
    f16* y, float* partial, const f16* x, const f16* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<F16, Tall>(y, partial, x, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(64, 8) conv_transpose2d_fwd_small_f32(
    float* y, float* partial, const float* x, const float* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<F32, Small>(y, partial, x, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(64, 8) conv_transpose2d_fwd_small_tf32(
    float* y, float* partial, const float* x, const float* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<Tf32, Small>(y, partial, x, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(64, 8) conv_transpose2d_fwd_small_bf16(
    bf16* y, float* partial, const bf16* x, const bf16* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<Bf16, Small>(y, partial, x, w, p, splits);
}
extern "C" __global__ void __launch_bounds__(64, 8) conv_transpose2d_fwd_small_f16(
    f16* y, float* partial, const f16* x, const f16* w, Conv2d p, u32 splits) {
    conv_transpose2d_fwd<F16, Small>(y, partial, x, w, p, splits);
}
