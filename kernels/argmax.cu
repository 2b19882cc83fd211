// Where every image's map is largest: y[n] = n * len + position of the largest of x[n, :], of equals the first; NaN is the
// largest. f32 always, and the positions as f32 numbers.
//
// Threads: a block of 256 an image; each keeps the first largest of every 256th value, then warps and the block merge theirs,
// the lower position of equals, so that no order of merging matters.
//
// Shared memory: 64 bytes. Registers: README.md. Reads 4 * len bytes an image, one comparison a value. Fuses nothing.
// Numbers: one block an image, chosen without a GPU: maps of patches have a few thousand values.
#include "common.cuh"

constexpr u32 THREADS = 256;

struct Largest {
    float value;
    u32 at;

    __device__ __forceinline__ void merge(float other, u32 other_at) {
        const bool nan = isnan(value), other_nan = isnan(other);
        const bool equal = nan ? other_nan : other == value;
        if (equal ? other_at < at : (other_nan || other > value)) value = other, at = other_at;
    }
};

extern "C" __global__ void __launch_bounds__(256) argmax_fwd_f32(float* y, const float* x, u32 len) {
    __shared__ float values[THREADS / WARP];
    __shared__ u32 places[THREADS / WARP];
    x += static_cast<size_t>(blockIdx.x) * len;
    // Threads without a value repeat the last one.
    const u32 first = min(threadIdx.x, len - 1);
    Largest largest{x[first], first};
    for (u32 i = threadIdx.x + THREADS; i < len; i += THREADS) largest.merge(x[i], i);
#pragma unroll
    for (u32 offset = WARP / 2; offset > 0; offset /= 2) {
        largest.merge(__shfl_xor_sync(FULL, largest.value, offset), __shfl_xor_sync(FULL, largest.at, offset));
    }
    if (threadIdx.x % WARP == 0) {
        values[threadIdx.x / WARP] = largest.value;
        places[threadIdx.x / WARP] = largest.at;
    }
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (u32 i = 1; i < THREADS / WARP; ++i) largest.merge(values[i], places[i]);
    y[blockIdx.x] = static_cast<float>(blockIdx.x * len + largest.at);
}
