// What both passes of the instance norm share (instance_norm.cu, instance_norm_bwd.cu): who computes what, sums over rows.
//
// Threads: 256 as 256 / lanes rows by `lanes` (a power of two up to 32) packs of channels. A pack is 16 bytes where c is a
// multiple of that, else one value. blockIdx.x = image * chunks of channels + chunk.
//
// Numbers: 8 packs a thread, because 16 would halve the number of resident blocks; at least two packs side by side, since
// DRAM sectors are 32 bytes. Chosen from ptxas' register counts and the memory layout, without a GPU to time on.
#pragma once
#include "common.cuh"

constexpr u32 THREADS = 256;
constexpr u32 WARPS = THREADS / WARP;
// Packs of one tensor that a thread holds: a slab is KEEP * THREADS / lanes rows.
constexpr u32 KEEP = 8;
// Most channels of a block: 8 lanes of 8 values, or 32 lanes of one.
constexpr u32 CHANNELS = 64;

struct Shared {
    float warp[WARPS][CHANNELS];
    float total[CHANNELS];
};

// A thread's place in its block, and the block's in the tensor.
template <u32 W> struct Place {
    u32 image, lane, channel, row, step, c;
    // False for lanes behind the last channel: they take part in barriers and shuffles only.
    bool inside;

    __device__ __forceinline__ Place(u32 c, u32 lanes) : c(c) {
        const u32 chunks = ceil_div(c, lanes * W);
        image = blockIdx.x / chunks;
        lane = threadIdx.x % lanes;
        channel = (blockIdx.x % chunks * lanes + lane) * W;
        row = threadIdx.x / lanes;
        step = THREADS / lanes;
        inside = channel < c;
    }

    // Index of the pack in `row` of an (n, rows, c) tensor.
    __device__ __forceinline__ u32 at(u32 rows, u32 row) const { return (image * rows + row) * c + channel; }
};

// Calls f(k, row) for the k-th row of this thread in the slab [first, end), k below K.
template <u32 K, u32 W, class F> __device__ __forceinline__ void each_row(const Place<W>& p, u32 first, u32 end, F f) {
#pragma unroll
    for (u32 k = 0; k < K; ++k) {
        if (first + k * p.step >= end) break;
        const u32 row = first + k * p.step + p.row;
        if (p.inside && row < end) f(k, row);
    }
}

// Makes the compiler forget what it computed from the words, so that it unpacks them again instead of keeping floats.
template <class T, u32 W> __device__ __forceinline__ void forget(Pack<T, W>& x) {
    if constexpr (W == 8) asm volatile("" : "+r"(x.words.x), "+r"(x.words.y), "+r"(x.words.z), "+r"(x.words.w));
}

// Sums each of a thread's values over the rows of the block, times `scale`: the same bits in all rows. A barrier.
template <u32 W> __device__ __forceinline__ void sum_rows(float (&v)[W], u32 lanes, float scale, Shared& s) {
    const u32 warp = threadIdx.x / WARP, thread = threadIdx.x % WARP, lane = threadIdx.x % lanes;
    warp_sums(v, WARP, lanes);
    if (thread < lanes) {
#pragma unroll
        for (u32 i = 0; i < W; ++i) s.warp[warp][lane * W + i] = v[i];
    }
    __syncthreads();
    if (threadIdx.x < lanes * W) {
        float sum = 0.0f;
#pragma unroll
        for (u32 w = 0; w < WARPS; ++w) sum += s.warp[w][threadIdx.x];
        s.total[threadIdx.x] = sum * scale;
    }
    __syncthreads();
#pragma unroll
    for (u32 i = 0; i < W; ++i) v[i] = s.total[lane * W + i];
}

// The rows of a split, in whole slabs except for the last.
struct Split {
    u32 first, end;

    __device__ __forceinline__ Split(u32 rows, u32 split_rows) {
        first = blockIdx.y * split_rows;
        end = min(first + split_rows, rows);
    }
};

// What the splits leave of a thread's channels, two numbers each: [image][split][2][c].
template <u32 W>
__device__ __forceinline__ void store_partial(float* partial, const float (&first)[W], const float (&second)[W],
                                              const Place<W>& p, u32 split, u32 splits) {
    if (p.row != 0 || !p.inside) return;
    float* to = partial + (p.image * splits + split) * 2 * p.c + p.channel;
    store_floats(to, first), store_floats(to + p.c, second);
}
