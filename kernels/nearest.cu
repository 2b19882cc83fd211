// The k nearest rows of a bank for every row of x, by Euclidean distance: a matrix product x * bank^T cut into tiles of which
// none is ever stored, a running list of the nearest beside it, and the distances of what came out measured once more.
//
// Shapes: x (rows, c), bank (m, c); distances and indices (rows, k) in f32 always, k <= 16, nearest first, of equals the lower
// index first.
//
// squares: |b|^2 of every row of the bank; a warp takes a row.
// partial: |b|^2 - 2 x.b orders the bank as the distances do, since |x|^2 is the row's own. A block of 128 threads takes 64 rows
//   of x (blockIdx.x) and a part of the bank (blockIdx.y), 64 rows of it after another: the main loop of the convolutions
//   (conv_gemm.cuh, tiles of 64x64), then two threads a row look through the tile, each with a list of its own in shared memory.
//   A list is touched only by what is nearer than its last entry, which soon is rare. Lists go to memory at the end:
//   [row][part][thread of two][k], keys first, then indices.
// merge: a warp a row picks the k first of its lists, measures sum (x - b)^2 of these, since the difference of |x|^2, |b|^2
//   and 2 x.b has lost its digits where a row is near, and sorts by that.
//
// NaN in x finds nothing nearer than nothing: index 0, whose distance is NaN.
//
// Shared memory: partial 24,832 bytes, and 1,024 * k for the lists, given by the launch. Registers: README.md.
// Flops and bytes: 2 * rows * m * c flops. 784 rows (28x28 patches) of 384 channels against 16,000: 9.6 GFLOP; the bank's 24.6 MB
//   are read 13 times, from L2.
// Fuses: norms, selection and the search's several passes over what would be 50 MB of distances. Tiles were chosen without a GPU.
#include "conv_load.cuh"

struct Nearest {
    u32 rows, bank, c, k;
};

constexpr u32 NONE = 0xffffffffu;

__device__ __forceinline__ float infinite() { return __int_as_float(0x7f800000); }

// The order of neighbours.
__device__ __forceinline__ bool before(float key, u32 index, float other, u32 other_index) {
    return key < other || (key == other && index < other_index);
}

template <class T> __device__ __forceinline__ void squares(float* y, const T* bank, const Nearest& p) {
    const u32 row = (blockIdx.x * blockDim.x + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    if (row >= p.bank) return;
    const T* b = bank + static_cast<size_t>(row) * p.c;
    float sum = 0.0f;
    for (u32 i = lane; i < p.c; i += WARP) {
        const float f = to_f32(b[i]);
        sum = fmaf(f, f, sum);
    }
    sum = warp_sum(sum);
    if (lane == 0) y[row] = sum;
}

// Tiles of 64x64; a ring of three slices leaves room for the lists.
using Search = Tile<64, 64, 2, 2, 3>;
// Threads that look through one row of a tile, each with its own list.
constexpr u32 SEARCHERS = Search::THREADS / Search::ROWS;

template <class P>
__device__ __forceinline__ void partial(float* lists, const typename P::T* x, const typename P::T* bank,
                                        const float* squares, const Nearest& p, u32 tiles) {
    using T = typename P::T;
    using Rows = FilterRows<T, Search::ROWS, Search::THREADS>;
    using Columns = FilterRows<T, Search::COLUMNS, Search::THREADS>;
    constexpr u32 THREADS = Search::THREADS, STRIDE = Search::COLUMNS + 8, CHUNKS = Search::COLUMNS / SEARCHERS / 4;
    constexpr u32 RING = Search::STAGES * (Rows::Layout::BYTES + Columns::Layout::BYTES);
    static_assert(SEARCHERS == 2 && Search::ROWS * STRIDE * 4 <= RING);
    __shared__ __align__(128) u8 ring[RING];
    __shared__ __align__(16) float tile_squares[Search::COLUMNS];
    const u32 k = p.k, own = threadIdx.x;
    // [place][thread]
    float* keys = reinterpret_cast<float*>(launched_shared);
    u32* indices = reinterpret_cast<u32*>(keys + k * THREADS);

    const u32 row = own % Search::ROWS, searcher = own / Search::ROWS;
    for (u32 i = 0; i < k; ++i) keys[i * THREADS + own] = infinite(), indices[i * THREADS + own] = NONE;
    float worst = infinite();
    u32 worst_index = NONE;
    Conv2d left{}, right{};
    left.k = p.rows, right.k = p.bank, left.c = right.c = p.c, left.r = left.s = right.r = right.s = 1;
    const u32 slices = ceil_div(p.c, SLICE<T>), last = min((blockIdx.y + 1) * tiles, ceil_div(p.bank, Search::COLUMNS));
    for (u32 tile = blockIdx.y * tiles; tile < last; ++tile) {
        const u32 column0 = tile * Search::COLUMNS;
        Rows a(x, left, blockIdx.x * Search::ROWS, 0);
        Columns b(bank, right, column0, 0);
        typename Choose<P::TENSOR_CORES, P, Search, typename Rows::Layout, typename Columns::Layout>::Product product;
        multiply_slices<Search>(ring, a, b, slices, product);
        float* result = reinterpret_cast<float*>(ring);
        product.put(result, STRIDE);
        if (own < Search::COLUMNS) tile_squares[own] = column0 + own < p.bank ? squares[column0 + own] : infinite();
        __syncthreads();
        for (u32 i = 0; i < CHUNKS; ++i) {
            // Eight rows that read at once start at different chunks, so that they lie in different banks.
            const u32 first = (searcher * CHUNKS + (i + row / 4) % CHUNKS) * 4;
            const float4 xb = *reinterpret_cast<const float4*>(result + row * STRIDE + first);
            const float4 bb = *reinterpret_cast<const float4*>(tile_squares + first);
            const float key[4] = {bb.x - 2.0f * xb.x, bb.y - 2.0f * xb.y, bb.z - 2.0f * xb.z, bb.w - 2.0f * xb.w};
#pragma unroll
            for (u32 e = 0; e < 4; ++e) {
                const u32 index = column0 + first + e;
                if (!before(key[e], index, worst, worst_index)) continue;
                u32 place = k - 1;
                for (; place > 0; --place) {
                    const float other = keys[(place - 1) * THREADS + own];
                    const u32 other_index = indices[(place - 1) * THREADS + own];
                    if (!before(key[e], index, other, other_index)) break;
                    keys[place * THREADS + own] = other, indices[place * THREADS + own] = other_index;
                }
                keys[place * THREADS + own] = key[e], indices[place * THREADS + own] = index;
                worst = keys[(k - 1) * THREADS + own], worst_index = indices[(k - 1) * THREADS + own];
            }
        }
        // The ring is filled again.
        __syncthreads();
    }
    const u32 at = blockIdx.x * Search::ROWS + row, parts = gridDim.y * SEARCHERS;
    if (at >= p.rows) return;
    const u32 candidates = parts * k, part = blockIdx.y * SEARCHERS + searcher;
    float* to = lists + static_cast<size_t>(at) * candidates * 2 + part * k;
    for (u32 i = 0; i < k; ++i) {
        to[i] = keys[i * THREADS + own];
        to[candidates + i] = __uint_as_float(indices[i * THREADS + own]);
    }
}

template <class T>
__device__ __forceinline__ void merge(float* distances, float* indices, const T* x, const T* bank, const float* lists,
                                      const Nearest& p, u32 candidates) {
    const u32 row = (blockIdx.x * blockDim.x + threadIdx.x) / WARP, lane = threadIdx.x % WARP;
    if (row >= p.rows) return;
    const float* keys = lists + static_cast<size_t>(row) * candidates * 2;
    const float* found = keys + candidates;
    x += static_cast<size_t>(row) * p.c;
    float last = -infinite(), own = infinite();
    u32 last_index = 0, own_index = 0;
    for (u32 place = 0; place < p.k; ++place) {
        float key = infinite();
        u32 index = NONE;
        for (u32 i = lane; i < candidates; i += WARP) {
            const float other = keys[i];
            const u32 other_index = __float_as_uint(found[i]);
            const bool taken = place > 0 && !before(last, last_index, other, other_index);
            if (!taken && before(other, other_index, key, index)) key = other, index = other_index;
        }
#pragma unroll
        for (u32 offset = WARP / 2; offset > 0; offset /= 2) {
            const float other = __shfl_xor_sync(FULL, key, offset);
            const u32 other_index = __shfl_xor_sync(FULL, index, offset);
            if (before(other, other_index, key, index)) key = other, index = other_index;
        }
        last = key, last_index = index;
        const u32 at = index < p.bank ? index : 0;
        const T* b = bank + static_cast<size_t>(at) * p.c;
        float sum = 0.0f;
        for (u32 i = lane; i < p.c; i += WARP) {
            const float d = to_f32(x[i]) - to_f32(b[i]);
            sum = fmaf(d, d, sum);
        }
        sum = warp_sum(sum);
        if (lane == place) own = sqrtf(sum), own_index = at;
    }
    // NaN counts as far; equals of equal index, which only NaN brings, keep their order.
    const float key = isnan(own) ? infinite() : own;
    u32 rank = 0;
    for (u32 i = 0; i < p.k; ++i) {
        const float other = __shfl_sync(FULL, key, i);
        const u32 other_index = __shfl_sync(FULL, own_index, i);
        rank += before(other, other_index, key, own_index) || (other == key && other_index == own_index && i < lane);
    }
    if (lane >= p.k) return;
    distances[row * p.k + rank] = own;
    indices[row * p.k + rank] = static_cast<float>(own_index);
}

extern "C" __global__ void __launch_bounds__(256) nearest_squares_f32(float* y, const float* bank, Nearest p) {
    squares(y, bank, p);
}
extern "C" __global__ void __launch_bounds__(256) nearest_squares_bf16(float* y, const bf16* bank, Nearest p) {
    squares(y, bank, p);
}
extern "C" __global__ void __launch_bounds__(256) nearest_squares_f16(float* y, const f16* bank, Nearest p) {
    squares(y, bank, p);
}
extern "C" __global__ void __launch_bounds__(128, 4) nearest_partial_f32(
    float* lists, const float* x, const float* bank, const float* squares, Nearest p, u32 tiles) {
    partial<F32>(lists, x, bank, squares, p, tiles);
}
extern "C" __global__ void __launch_bounds__(128, 4) nearest_partial_bf16(
    float* lists, const bf16* x, const bf16* bank, const float* squares, Nearest p, u32 tiles) {
    partial<Bf16>(lists, x, bank, squares, p, tiles);
}
extern "C" __global__ void __launch_bounds__(128, 4) nearest_partial_f16(
    float* lists, const f16* x, const f16* bank, const float* squares, Nearest p, u32 tiles) {
    partial<F16>(lists, x, bank, squares, p, tiles);
}
extern "C" __global__ void __launch_bounds__(256) nearest_merge_f32(
    float* distances, float* indices, const float* x, const float* bank, const float* lists, Nearest p, u32 candidates) {
    merge(distances, indices, x, bank, lists, p, candidates);
}
extern "C" __global__ void __launch_bounds__(256) nearest_merge_bf16(
    float* distances, float* indices, const bf16* x, const bf16* bank, const float* lists, Nearest p, u32 candidates) {
    merge(distances, indices, x, bank, lists, p, candidates);
}
extern "C" __global__ void __launch_bounds__(256) nearest_merge_f16(
    float* distances, float* indices, const f16* x, const f16* bank, const float* lists, Nearest p, u32 candidates) {
    merge(distances, indices, x, bank, lists, p, candidates);
}
