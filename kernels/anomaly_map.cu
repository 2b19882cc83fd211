// From the error maps of the layers to the anomaly map and the image's score; all maps are f32 with one channel.
//
// upsample_sum: y(n, size, size) = sum over 1 to 8 maps (n, h_i, w_i) of their bilinear interpolation with corners aligned:
//   source coordinate o * (h - 1) / (size - 1), divided in integers, so that whole coordinates are exact. A thread computes
//   one output of all maps; block (x: line of n * size, y: 256 columns).
// anomaly_map: the sum, upsampled, and blurred in the same launch, for radii up to 24. A block of 256 threads takes 16 lines of
//   32 columns: it upsamples them and a radius more on every side into shared memory (coordinates are worked out once per
//   line and column), blurs along the rows there, then along the columns. Each sum has the order of the kernels below.
// gaussian_blur: separable, mirrored about the edges (d c b a | a b c d, as often as the radius asks), taps by value:
//   rows:    a block of 256 threads takes 256 outputs of a line, the line with its mirrored ends in shared memory.
//   columns: a block of 32 x 8 threads takes 32 columns of 32 lines; a thread computes 4 lines of a column, so that it reads
//            2 * radius + 4 values for 4 outputs. Neighbours read neighbouring columns; L1 serves the overlap of the threads.
// topk_mean: mean of the k largest values of each image, exact, NaN the largest of all. One block of 1024 threads an image.
//   Floats become u32 keys of the same order; three counts of 11, 11 and 10 bits find the key of the k-th (integer
//   atomics in shared memory: the same counts in any order), then all values above it are added in a fixed order, and the
//   k-th as often as its rank among its equals says. k == len needs no search.
//
// Fuses: all layers, their sum and blur; conversion, selection, sum and mean.
// Shared memory and registers: README.md.
// One launch moves, per image: upsample_sum and anomaly_map 4*size^2 bytes written (the sources stay in cache); 8 flops per map
//   and output, in anomaly_map (1 + radius/16) * (1 + radius/8) as many, and (3*radius + 1) * (1 + radius/8) + 2*radius + 1;
//   rows and columns 8*size^2 bytes each, 3*radius + 1 and 4*radius + 2 flops per output; topk_mean 4*len bytes up to four
//   times, the last three from L2.
// Tiles were chosen without a GPU at hand, for 256 x 256 maps and sigma 4 (radius 16).
#include "common.cuh"

constexpr u32 MAX_RADIUS = 256;

struct UpsampleMaps {
    u32 size;
    u32 count;
    u32 h[8];
    u32 w[8];
};

struct Source {
    u32 near, far;
    float t;
};

// Neighbours and weight of output coordinate o.
__device__ __forceinline__ Source source(u32 o, u32 from, u32 to) {
    if (to == 1) return {0, min(1u, from - 1), 0.0f};
    const u32 position = o * (from - 1), i = position / (to - 1);
    return {i, min(i + 1, from - 1), (float)(position - i * (to - 1)) / (to - 1)};
}

// Value of the map x with lines of w.
__device__ __forceinline__ float bilinear(const float* x, u32 w, const Source& sy, const Source& sx) {
    const float* top = x + (size_t)sy.near * w;
    const float* bottom = x + (size_t)sy.far * w;
    const float upper = top[sx.near] + (top[sx.far] - top[sx.near]) * sx.t;
    const float lower = bottom[sx.near] + (bottom[sx.far] - bottom[sx.near]) * sx.t;
    return upper + (lower - upper) * sy.t;
}

__device__ __forceinline__ void upsample_sum(float* y, const float* x0, const float* x1, const float* x2, const float* x3,
                                             const float* x4, const float* x5, const float* x6, const float* x7,
                                             UpsampleMaps p) {
    const u32 ox = blockIdx.y * blockDim.x + threadIdx.x, n = blockIdx.x / p.size, oy = blockIdx.x % p.size;
    if (ox >= p.size) return;
    const float* const x[8] = {x0, x1, x2, x3, x4, x5, x6, x7};
    float sum = 0.0f;
#pragma unroll
    for (u32 i = 0; i < 8; ++i) {
        if (i >= p.count) break;
        const u32 h = p.h[i], w = p.w[i];
        sum += bilinear(x[i] + (size_t)n * h * w, w, source(oy, h, p.size), source(ox, w, p.size));
    }
    y[(size_t)blockIdx.x * p.size + ox] = sum;
}

// Weights of offsets 0 to radius.
struct GaussianTaps {
    float weight[MAX_RADIUS + 1];
};

// Index of i, which may lie outside of 0..n, mirrored about the edges (period 2n).
__device__ __forceinline__ u32 mirror(i32 i, i32 n) {
    if (i >= 0 && i < n) return i;
    i %= 2 * n;
    if (i < 0) i += 2 * n;
    return i < n ? i : 2 * n - 1 - i;
}

constexpr u32 BLUR_THREADS = 256;

// Weighted sum of the values about `centre`.
__device__ __forceinline__ float blurred(const float* centre, u32 radius, const float* weight) {
    float sum = *centre * weight[0];
#pragma unroll 4
    for (u32 k = 1; k <= radius; ++k) sum = fmaf(*(centre - k) + centre[k], weight[k], sum);
    return sum;
}

__device__ __forceinline__ void blur_rows(float* y, const float* x, u32 size, u32 tiles, u32 radius, const GaussianTaps& taps) {
    __shared__ float line[BLUR_THREADS + 2 * MAX_RADIUS];
    __shared__ float weight[MAX_RADIUS + 1];
    const size_t at = (size_t)(blockIdx.x / tiles) * size;
    const u32 begin = blockIdx.x % tiles * BLUR_THREADS, count = min(BLUR_THREADS, size - begin);
    for (u32 i = threadIdx.x; i < count + 2 * radius; i += BLUR_THREADS) {
        line[i] = x[at + mirror((i32)(begin + i) - (i32)radius, size)];
    }
    for (u32 i = threadIdx.x; i <= radius; i += BLUR_THREADS) weight[i] = taps.weight[i];
    __syncthreads();
    if (threadIdx.x >= count) return;
    y[at + begin + threadIdx.x] = blurred(line + radius + threadIdx.x, radius, weight);
}

constexpr u32 COLUMNS = 32, LINES_PER_THREAD = 4, LINES = LINES_PER_THREAD * (BLUR_THREADS / COLUMNS);

// Grid: x = images * tiles across, y = tiles down.
__device__ __forceinline__ void blur_columns(float* y, const float* x, u32 size, u32 tiles, u32 radius,
                                             const GaussianTaps& taps) {
    __shared__ float weight[MAX_RADIUS + 1];
    for (u32 i = threadIdx.x; i <= radius; i += BLUR_THREADS) weight[i] = taps.weight[i];
    __syncthreads();
    const u32 column = blockIdx.x % tiles * COLUMNS + threadIdx.x % COLUMNS;
    const u32 first = blockIdx.y * LINES + threadIdx.x / COLUMNS * LINES_PER_THREAD;
    if (column >= size || first >= size) return;
    const size_t at = (size_t)(blockIdx.x / tiles) * size * size + column;
    float sum[LINES_PER_THREAD] = {};
    const i32 r = radius;
    for (i32 i = -r; i < r + (i32)LINES_PER_THREAD; ++i) {
        const float value = x[at + (size_t)mirror((i32)first + i, size) * size];
#pragma unroll
        for (i32 j = 0; j < (i32)LINES_PER_THREAD; ++j) {
            const i32 distance = abs(i - j);
            if (distance <= r) sum[j] = fmaf(value, weight[distance], sum[j]);
        }
    }
#pragma unroll
    for (u32 j = 0; j < LINES_PER_THREAD; ++j) {
        if (first + j < size) y[at + (size_t)(first + j) * size] = sum[j];
    }
}

// Lines and columns of a block's tile, and with the widest border.
constexpr u32 TILE_LINES = 16, TILE_COLUMNS = 32, TILE_RADIUS = 24;
constexpr u32 WIDE_LINES = TILE_LINES + 2 * TILE_RADIUS, WIDE_COLUMNS = TILE_COLUMNS + 2 * TILE_RADIUS;
static_assert(TILE_COLUMNS == WARP);

// Grid: x = images * tiles across, y = tiles down.
__device__ __forceinline__ void anomaly_map(float* y, const float* x0, const float* x1, const float* x2, const float* x3,
                                            const float* x4, const float* x5, const float* x6, const float* x7,
                                            const UpsampleMaps& p, u32 radius, const GaussianTaps& taps) {
    __shared__ float sums[WIDE_LINES * WIDE_COLUMNS], rows[WIDE_LINES * TILE_COLUMNS];
    __shared__ Source down[8][WIDE_LINES], across[8][WIDE_COLUMNS];
    __shared__ float weight[TILE_RADIUS + 1];
    constexpr u32 WARPS = BLUR_THREADS / WARP;
    const u32 size = p.size, tiles = ceil_div(size, TILE_COLUMNS), n = blockIdx.x / tiles;
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    const u32 left = blockIdx.x % tiles * TILE_COLUMNS, top = blockIdx.y * TILE_LINES;
    const u32 lines = TILE_LINES + 2 * radius, columns = TILE_COLUMNS + 2 * radius;
    for (u32 i = threadIdx.x; i <= radius; i += BLUR_THREADS) weight[i] = taps.weight[i];
#pragma unroll
    for (u32 m = 0; m < 8; ++m) {
        if (m >= p.count) break;
        for (u32 i = threadIdx.x; i < lines + columns; i += BLUR_THREADS) {
            const bool line = i < lines;
            const i32 at = (i32)(line ? top + i : left + i - lines) - (i32)radius;
            const Source from = source(mirror(at, size), line ? p.h[m] : p.w[m], size);
            if (line) down[m][i] = from;
            else across[m][i - lines] = from;
        }
    }
    __syncthreads();
    const float* const x[8] = {x0, x1, x2, x3, x4, x5, x6, x7};
    for (u32 line = warp; line < lines; line += WARPS) {
        for (u32 column = lane; column < columns; column += WARP) {
            float sum = 0.0f;
#pragma unroll
            for (u32 m = 0; m < 8; ++m) {
                if (m < p.count) sum += bilinear(x[m] + (size_t)n * p.h[m] * p.w[m], p.w[m], down[m][line], across[m][column]);
            }
            sums[line * WIDE_COLUMNS + column] = sum;
        }
    }
    __syncthreads();
    for (u32 line = warp; line < lines; line += WARPS) {
        const float* centre = sums + line * WIDE_COLUMNS + radius + lane;
        rows[line * TILE_COLUMNS + lane] = blurred(centre, radius, weight);
    }
    __syncthreads();
    constexpr u32 EACH = TILE_LINES / WARPS;
    float sum[EACH] = {};
    const i32 r = radius;
    for (i32 i = -r; i < r + (i32)EACH; ++i) {
        const float value = rows[(u32)((i32)(warp * EACH) + r + i) * TILE_COLUMNS + lane];
#pragma unroll
        for (i32 j = 0; j < (i32)EACH; ++j) {
            const i32 distance = abs(i - j);
            if (distance <= r) sum[j] = fmaf(value, weight[distance], sum[j]);
        }
    }
#pragma unroll
    for (u32 j = 0; j < EACH; ++j) {
        const u32 line = top + warp * EACH + j, column = left + lane;
        if (line < size && column < size) y[((size_t)n * size + line) * size + column] = sum[j];
    }
}

constexpr u32 SELECT_THREADS = 1024, BINS = 2 * SELECT_THREADS;

// Keys order as the values do; NaN of either sign is the largest.
__device__ __forceinline__ u32 key_of(float x) {
    const u32 bits = __float_as_uint(x);
    if (isnan(x)) return 0xffffffffu;
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float value_of(u32 key) {
    return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// Calls f for this thread's share of x.
template <class F> __device__ __forceinline__ void for_each(const float* x, u32 len, bool vectors, F f) {
    if (vectors) {
        for (u32 i = threadIdx.x * 4; i < len; i += SELECT_THREADS * 4) {
            const Vec<float> v = load16(x + i);
#pragma unroll
            for (u32 j = 0; j < 4; ++j) f(v.v[j]);
        }
    } else {
        for (u32 i = threadIdx.x; i < len; i += SELECT_THREADS) f(x[i]);
    }
}

__device__ __forceinline__ void topk_mean(float* y, const float* x, u32 len, u32 k) {
    __shared__ u32 bins[BINS];
    __shared__ u32 warps[SELECT_THREADS / WARP];
    __shared__ u32 found[2];
    __shared__ double sums[SELECT_THREADS / WARP];
    const bool vectors = len % 4 == 0;
    x += (size_t)blockIdx.x * len;
    // Keys above `key` count fully, those equal to it `rank` times.
    u32 key = 0, known = 0, rank = k;
    if (k < len) {
        for (u32 pass = 0; pass < 3; ++pass) {
            const u32 shift = pass == 0 ? 21 : pass == 1 ? 10 : 0, digits = pass == 2 ? 1023 : 2047;
            bins[threadIdx.x] = 0;
            bins[threadIdx.x + SELECT_THREADS] = 0;
            __syncthreads();
            for_each(x, len, vectors, [&](float value) {
                const u32 own = key_of(value);
                if ((own & known) == key) atomicAdd(&bins[own >> shift & digits], 1u);
            });
            __syncthreads();
            // From the largest digit down, two a thread: how many keys come before them?
            const u32 upper = BINS - 1 - 2 * threadIdx.x;
            const u32 in_upper = bins[upper], in_lower = bins[upper - 1];
            const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
            u32 before = in_upper + in_lower;
#pragma unroll
            for (u32 offset = 1; offset < WARP; offset *= 2) {
                const u32 other = __shfl_up_sync(FULL, before, offset);
                if (lane >= offset) before += other;
            }
            if (lane == WARP - 1) warps[warp] = before;
            __syncthreads();
            for (u32 i = 0; i < warp; ++i) before += warps[i];
            before -= in_upper + in_lower;
            // Exactly one digit holds the rank-th.
            if (before < rank && rank <= before + in_upper) {
                found[0] = upper;
                found[1] = rank - before;
            } else if (before + in_upper < rank && rank <= before + in_upper + in_lower) {
                found[0] = upper - 1;
                found[1] = rank - before - in_upper;
            }
            __syncthreads();
            key |= found[0] << shift;
            known |= digits << shift;
            rank = found[1];
        }
    }
    LongSum sum;
    if (k < len) {
        for_each(x, len, vectors, [&](float value) {
            if (key_of(value) > key) sum.add(value);
        });
    } else {
        for_each(x, len, vectors, [&](float value) { sum.add(value); });
    }
    double total = block_sum(sum.result(), sums);
    if (k < len) total += (double)rank * value_of(key);
    if (threadIdx.x == 0) y[blockIdx.x] = (float)(total / k);
}

extern "C" __global__ void __launch_bounds__(256) upsample_sum_f32(float* y, const float* x0, const float* x1, const float* x2, const float* x3, const float* x4, const float* x5, const float* x6, const float* x7, UpsampleMaps p) { upsample_sum(y, x0, x1, x2, x3, x4, x5, x6, x7, p); }
extern "C" __global__ void __launch_bounds__(256) anomaly_map_f32(float* y, const float* x0, const float* x1, const float* x2, const float* x3, const float* x4, const float* x5, const float* x6, const float* x7, UpsampleMaps p, u32 radius, GaussianTaps taps) { anomaly_map(y, x0, x1, x2, x3, x4, x5, x6, x7, p, radius, taps); }
extern "C" __global__ void __launch_bounds__(256) gaussian_blur_rows_f32(float* y, const float* x, u32 size, u32 tiles, u32 radius, GaussianTaps taps) { blur_rows(y, x, size, tiles, radius, taps); }
extern "C" __global__ void __launch_bounds__(256) gaussian_blur_columns_f32(float* y, const float* x, u32 size, u32 tiles, u32 radius, GaussianTaps taps) { blur_columns(y, x, size, tiles, radius, taps); }
extern "C" __global__ void __launch_bounds__(1024) topk_mean_f32(float* y, const float* x, u32 len, u32 k) { topk_mean(y, x, len, k); }
