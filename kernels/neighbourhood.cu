// A patch's distance weighted by its surroundings in the bank: y[n] = (1 - e_0 / sum of e_j) * distance[n],
// e_j = exp(d_j - max d), d_j = |patch[n] - neighbours[n, j]|, j < k <= 16.
//
// Shapes: distance and y (n), f32 always; patch (n, c), neighbours (n, k, c).
//
// Threads: a block of k warps an image; a warp measures one neighbour's distance, the first thread does the rest.
//
// Shared memory: 64 bytes. Registers: README.md. Reads (k + 1) * c values an image, 3 flops each. Fuses distances, softmax and
// weighting. Numbers: a warp a neighbour, chosen without a GPU.
#include "common.cuh"

struct Neighbourhood {
    u32 k, c;
};

constexpr u32 MAX_NEIGHBOURS = 16;

template <class T>
__device__ __forceinline__ void neighbourhood(float* y, const float* distance, const T* patch, const T* neighbours,
                                              const Neighbourhood& p) {
    __shared__ float distances[MAX_NEIGHBOURS];
    const u32 image = blockIdx.x, lane = threadIdx.x % WARP, own = threadIdx.x / WARP;
    patch += static_cast<size_t>(image) * p.c;
    neighbours += (static_cast<size_t>(image) * p.k + own) * p.c;
    float sum = 0.0f;
    for (u32 i = lane; i < p.c; i += WARP) {
        const float d = to_f32(patch[i]) - to_f32(neighbours[i]);
        sum = fmaf(d, d, sum);
    }
    sum = warp_sum(sum);
    if (lane == 0) distances[own] = sqrtf(sum);
    __syncthreads();
    if (threadIdx.x != 0) return;
    float most = distances[0], total = 0.0f;
    for (u32 i = 1; i < p.k; ++i) most = fmaxf(most, distances[i]);
    for (u32 i = 0; i < p.k; ++i) total += expf(distances[i] - most);
    y[image] = (1.0f - expf(distances[0] - most) / total) * distance[image];
}

extern "C" __global__ void __launch_bounds__(512) neighbourhood_fwd_f32(
    float* y, const float* distance, const float* patch, const float* neighbours, Neighbourhood p) {
    neighbourhood(y, distance, patch, neighbours, p);
}
extern "C" __global__ void __launch_bounds__(512) neighbourhood_fwd_bf16(
    float* y, const float* distance, const bf16* patch, const bf16* neighbours, Neighbourhood p) {
    neighbourhood(y, distance, patch, neighbours, p);
}
extern "C" __global__ void __launch_bounds__(512) neighbourhood_fwd_f16(
    float* y, const float* distance, const f16* patch, const f16* neighbours, Neighbourhood p) {
    neighbourhood(y, distance, patch, neighbours, p);
}
