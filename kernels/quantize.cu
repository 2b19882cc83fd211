// Real numbers to bytes: y = clamp(round(x * steps)) + zero, to the nearest, even where two are.
//
// Shapes: x, y: n elements.
//
// Threads: one four elements, which leave as one word; the last n % 4 by the first threads one by one. Grid: (n / 4 / 256, rounded
// up, one at least).
//
// Shared memory: none. Registers: README.md.
//
// Bytes and flops: a map of 64x64x64 in f32 reads 1.05 MB and writes 0.26 MB: bound by memory, 0.4 us at 3.35 TB/s.
//
// Fuses nothing: where a convolution of bytes computes x, its store does this. Numbers: four elements a thread, chosen without a GPU.
#include "bytes.cuh"

extern "C" __global__ void __launch_bounds__(256) quantize_fwd_f32(u8* y, const float* x, u32 n, ByteScale q) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x, words = n / 4;
    if (i < words) {
        const float4 v = *reinterpret_cast<const float4*>(x + i * 4);
        *reinterpret_cast<uchar4*>(y + i * 4) = make_uchar4(to_byte(v.x, q), to_byte(v.y, q), to_byte(v.z, q), to_byte(v.w, q));
    }
    if (i < n % 4) y[words * 4 + i] = to_byte(x[words * 4 + i], q);
}
