// Gradient of the instance norm (instance_norm.cu). With dz = dy * act'(y) and xhat = (x - mean) * rstd:
//     dx = gamma * rstd * (dz - mean(dz) - xhat * mean(dz * xhat)), dgamma = sum of dz * xhat, dbeta = sum of dz.
//
// Shapes: dy, x, y, dx (n, rows, c); gamma, dgamma, dbeta (c); mean, rstd (n, c), always f32; sums (n, splits, 2, c), f32.
//
// Threads: as instance_norm.cuh says, blockIdx.y = split over rows.
//
// Small maps (rows <= 8 * 256 / lanes): one launch, instance_norm_bwd. Every thread keeps its up to 8 packs of dy and x and
// the signs of y in registers, so each tensor crosses the memory bus once.
// Large maps: instance_norm_bwd_sums leaves the sums of every split, instance_norm_bwd_apply merges them and computes dx.
// dy, x and y are read twice.
// Parameters: instance_norm_bwd_params adds what the images and splits give to dgamma and dbeta, f32 in all programs.
//
// Order of every sum: rows of a thread, shuffles over the rows of a warp, warps in turn, splits in turn. It depends on the
// sizes and the grid alone.
//
// Shared memory: 2,304 bytes (8 warps' sums and their total, for up to 64 channels), instance_norm_bwd_params 2,112.
// Registers a thread (f32 / 16-bit, ptxas, sm_90): bwd 115 / 125 (two blocks a multiprocessor), bwd_sums
// 40 / 64, bwd_apply 48 / 64, bwd_params 24.
//
// Bytes and flops of 5 x 16x16 x 512 in f32 (655,360 values): small path 7.9 MB in (5.2 without activation), 2.6 MB out,
// about 14 flops a value: bound by memory.
//
// Fuses: the activation's derivative, told from y, both parameter gradients' partial sums, conversion.
//
// Numbers: those of instance_norm.cuh; 4 packs of each tensor under way, so that dy, x and y of a batch fit the registers.
#include "instance_norm.cuh"

// Packs of x, dy and y under way at the same time in backward.
constexpr u32 BATCH = 4;

// The channel that the i-th of a block's first threads looks after, one thread a channel.
template <u32 W> __device__ __forceinline__ u32 block_channel(const Place<W>& p) {
    return p.channel - p.lane * W + threadIdx.x;
}

// What backward needs of one thread's channels.
template <class T, u32 W> struct Normalised {
    float mean[W], rstd[W];

    __device__ __forceinline__ Normalised(const float* m, const float* r, const Place<W>& p) {
        // Lanes behind the last channel read the first ones, and use none.
        const u32 at = p.image * p.c + (p.inside ? p.channel : 0);
        load_floats(mean, m + at), load_floats(rstd, r + at);
    }

    // Adds dz to s1 and dz * xhat to s2.
    __device__ __forceinline__ void add(float (&s1)[W], float (&s2)[W], const float (&dz)[W],
                                        const float (&x)[W]) const {
#pragma unroll
        for (u32 i = 0; i < W; ++i) {
            s1[i] += dz[i];
            s2[i] += dz[i] * ((x[i] - mean[i]) * rstd[i]);
        }
    }

    // dx from the means of dz and of dz * xhat.
    __device__ __forceinline__ Pack<T, W> dx(const float (&scale)[W], const float (&mean1)[W], const float (&mean2)[W],
                                             const float (&dz)[W], const float (&x)[W]) const {
        float d[W];
#pragma unroll
        for (u32 i = 0; i < W; ++i) d[i] = scale[i] * (dz[i] - mean1[i] - (x[i] - mean[i]) * rstd[i] * mean2[i]);
        return pack<T>(d);
    }
};

// gamma * rstd
template <class T, u32 W>
__device__ __forceinline__ void gradient_scale(float (&scale)[W], const float (&rstd)[W], const T* gamma,
                                               const Place<W>& p) {
#pragma unroll
    for (u32 i = 0; i < W; ++i) scale[i] = rstd[i];
    if (gamma == nullptr || !p.inside) return;
    float g[W];
    unpack(g, load_pack<W>(gamma + p.channel));
#pragma unroll
    for (u32 i = 0; i < W; ++i) scale[i] *= g[i];
}

// Which values of y are positive, one bit each.
template <class T, u32 W> __device__ __forceinline__ u32 positive(const Pack<T, W>& y) {
    float f[W];
    unpack(f, y);
    u32 bits = 0;
#pragma unroll
    for (u32 i = 0; i < W; ++i) bits |= (f[i] > 0.0f ? 1u : 0u) << i;
    return bits;
}

// dz of a pack of dy, given the signs of y.
template <class T, u32 W>
__device__ __forceinline__ void unpack_dz(float (&dz)[W], const Pack<T, W>& dy, u32 positive, float slope) {
    unpack(dz, dy);
#pragma unroll
    for (u32 i = 0; i < W; ++i) dz[i] = positive >> i & 1 ? dz[i] : dz[i] * slope;
}

// dz and x of the pack at `at`.
template <class T, u32 W>
__device__ __forceinline__ void load_values(float (&dz)[W], float (&f)[W], const T* dy, const T* x, const T* y, u32 at,
                                            float slope) {
    const u32 signs = slope != 1.0f ? positive(load_pack<W>(y + at)) : FULL;
    unpack_dz(dz, load_pack<W>(dy + at), signs, slope);
    unpack(f, load_pack<W>(x + at));
}

template <class T, u32 W>
__device__ __forceinline__ void bwd_packs(T* __restrict__ dx, float* sums, const T* __restrict__ dy,
                                          const T* __restrict__ x, const T* __restrict__ y, const float* mean,
                                          const float* rstd, const T* __restrict__ gamma, u32 rows, u32 c, u32 lanes,
                                          float slope, Shared& s) {
    const Place<W> p(c, lanes);
    const Normalised<T, W> norm(mean, rstd, p);
    Pack<T, W> dys[KEEP], xs[KEEP];
    // W bits a pack.
    u32 signs[KEEP / BATCH];
    float s1[W], s2[W], dz[W], f[W];
#pragma unroll
    for (u32 i = 0; i < W; ++i) s1[i] = s2[i] = 0.0f;
#pragma unroll
    for (u32 b = 0; b < KEEP; b += BATCH) {
        const u32 first = b * p.step;
        if (first >= rows) break;
        u32& bits = signs[b / BATCH];
        bits = slope != 1.0f ? 0 : FULL;
        Pack<T, W> ys[BATCH];
        each_row<BATCH>(p, first, rows, [&](u32 k, u32 row) {
            const u32 at = p.at(rows, row);
            dys[b + k] = load_pack<W>(dy + at);
            xs[b + k] = load_pack<W>(x + at);
            if (slope != 1.0f) ys[k] = load_pack<W>(y + at);
        });
        each_row<BATCH>(p, first, rows, [&](u32 k, u32) {
            if (slope != 1.0f) bits |= positive(ys[k]) << (k * W);
            unpack_dz(dz, dys[b + k], bits >> (k * W), slope);
            unpack(f, xs[b + k]);
            norm.add(s1, s2, dz, f);
            forget(dys[b + k]);
            forget(xs[b + k]);
        });
    }
    sum_rows(s1, lanes, 1.0f, s);
    sum_rows(s2, lanes, 1.0f, s);
    if (sums != nullptr) store_partial(sums, s1, s2, p, 0, 1);
    const float inverse = 1.0f / rows;
    float scale[W];
    gradient_scale(scale, norm.rstd, gamma, p);
#pragma unroll
    for (u32 i = 0; i < W; ++i) s1[i] *= inverse, s2[i] *= inverse;
    each_row<KEEP>(p, 0, rows, [&](u32 k, u32 row) {
        unpack_dz(dz, dys[k], signs[k / BATCH] >> (k % BATCH * W), slope);
        unpack(f, xs[k]);
        store_pack(dx + p.at(rows, row), norm.dx(scale, s1, s2, dz, f));
    });
}

// Backward of a map that fits a slab. `sums` (null without gamma) as from bwd_sums with one split. Grid: (n * chunks).
template <class T>
__device__ __forceinline__ void bwd(T* dx, float* sums, const T* dy, const T* x, const T* y, const float* mean,
                                    const float* rstd, const T* gamma, u32 rows, u32 c, u32 lanes, float slope) {
    __shared__ Shared s;
    if (c % LANES<T> == 0) {
        bwd_packs<T, LANES<T>>(dx, sums, dy, x, y, mean, rstd, gamma, rows, c, lanes, slope, s);
    } else {
        bwd_packs<T, 1>(dx, sums, dy, x, y, mean, rstd, gamma, rows, c, lanes, slope, s);
    }
}

template <class T, u32 W>
__device__ __forceinline__ void bwd_sums_packs(float* sums, const T* __restrict__ dy, const T* __restrict__ x,
                                               const T* __restrict__ y, const float* mean, const float* rstd, u32 rows,
                                               u32 c, u32 lanes, u32 split_rows, float slope, Shared& s) {
    const Place<W> p(c, lanes);
    const Split split(rows, split_rows);
    const Normalised<T, W> norm(mean, rstd, p);
    float s1[W], s2[W], dz[W], f[W];
#pragma unroll
    for (u32 i = 0; i < W; ++i) s1[i] = s2[i] = 0.0f;
    if (p.inside) {
#pragma unroll 2
        for (u32 row = split.first + p.row; row < split.end; row += p.step) {
            const u32 at = p.at(rows, row);
            load_values(dz, f, dy, x, y, at, slope);
            norm.add(s1, s2, dz, f);
        }
    }
    sum_rows(s1, lanes, 1.0f, s);
    sum_rows(s2, lanes, 1.0f, s);
    store_partial(sums, s1, s2, p, blockIdx.y, gridDim.y);
}

// Sums of dz and of dz * xhat over every split. Grid: (n * chunks, splits).
template <class T>
__device__ __forceinline__ void bwd_sums(float* sums, const T* dy, const T* x, const T* y, const float* mean,
                                         const float* rstd, u32 rows, u32 c, u32 lanes, u32 split_rows, float slope) {
    __shared__ Shared s;
    if (c % LANES<T> == 0) {
        bwd_sums_packs<T, LANES<T>>(sums, dy, x, y, mean, rstd, rows, c, lanes, split_rows, slope, s);
    } else {
        bwd_sums_packs<T, 1>(sums, dy, x, y, mean, rstd, rows, c, lanes, split_rows, slope, s);
    }
}

template <class T, u32 W>
__device__ __forceinline__ void bwd_apply_packs(T* __restrict__ dx, const float* __restrict__ sums,
                                                const T* __restrict__ dy, const T* __restrict__ x,
                                                const T* __restrict__ y, const float* mean, const float* rstd,
                                                const T* __restrict__ gamma, u32 rows, u32 c, u32 lanes, u32 split_rows,
                                                float slope, Shared& s) {
    const Place<W> p(c, lanes);
    const Split split(rows, split_rows);
    const Normalised<T, W> norm(mean, rstd, p);
    float* const block_sum1 = s.warp[0];
    float* const block_sum2 = s.warp[1];
    const u32 channel = block_channel(p);
    if (threadIdx.x < lanes * W && channel < c) {
        const float* of_image = sums + static_cast<size_t>(p.image) * gridDim.y * 2 * c + channel;
        float sum1 = 0.0f, sum2 = 0.0f;
#pragma unroll 4
        for (u32 i = 0; i < gridDim.y; ++i) sum1 += of_image[i * 2 * c], sum2 += of_image[i * 2 * c + c];
        block_sum1[threadIdx.x] = sum1 / rows, block_sum2[threadIdx.x] = sum2 / rows;
    }
    __syncthreads();
    if (!p.inside) return;
    float mean1[W], mean2[W], scale[W], dz[W], f[W];
#pragma unroll
    for (u32 i = 0; i < W; ++i) mean1[i] = block_sum1[p.lane * W + i], mean2[i] = block_sum2[p.lane * W + i];
    gradient_scale(scale, norm.rstd, gamma, p);
#pragma unroll 2
    for (u32 row = split.first + p.row; row < split.end; row += p.step) {
        const u32 at = p.at(rows, row);
        load_values(dz, f, dy, x, y, at, slope);
        store_pack(dx + at, norm.dx(scale, mean1, mean2, dz, f));
    }
}

// dx from the splits' sums. Grid: (n * chunks, splits).
template <class T>
__device__ __forceinline__ void bwd_apply(T* dx, const float* sums, const T* dy, const T* x, const T* y,
                                          const float* mean, const float* rstd, const T* gamma, u32 rows, u32 c,
                                          u32 lanes, u32 split_rows, float slope) {
    __shared__ Shared s;
    if (c % LANES<T> == 0) {
        bwd_apply_packs<T, LANES<T>>(dx, sums, dy, x, y, mean, rstd, gamma, rows, c, lanes, split_rows, slope, s);
    } else {
        bwd_apply_packs<T, 1>(dx, sums, dy, x, y, mean, rstd, gamma, rows, c, lanes, split_rows, slope, s);
    }
}

// dgamma and dbeta from `count` partial sums [count][2][c]. A warp is one group of partial sums by 32 channels.
// Grid: (c / 32, rounded up).
__device__ __forceinline__ void bwd_params(float* dgamma, float* dbeta, const float* sums, u32 count, u32 c) {
    __shared__ float s1[WARPS][WARP + 1], s2[WARPS][WARP + 1];
    const u32 group = threadIdx.x / WARP, lane = threadIdx.x % WARP, channel = blockIdx.x * WARP + lane;
    float sum1 = 0.0f, sum2 = 0.0f;
    if (channel < c) {
#pragma unroll 4
        for (u32 i = group; i < count; i += WARPS) {
            const float* of = sums + static_cast<size_t>(i) * 2 * c + channel;
            sum1 += of[0], sum2 += of[c];
        }
    }
    s1[group][lane] = sum1, s2[group][lane] = sum2;
    __syncthreads();
    if (group != 0 || channel >= c) return;
#pragma unroll
    for (u32 w = 1; w < WARPS; ++w) sum1 += s1[w][lane], sum2 += s2[w][lane];
    dbeta[channel] = sum1, dgamma[channel] = sum2;
}

extern "C" __global__ void __launch_bounds__(256, 2)
    instance_norm_bwd_f32(float* dx, float* sums, const float* dy, const float* x, const float* y, const float* mean,
                          const float* rstd, const float* gamma, u32 rows, u32 c, u32 lanes, float slope) {
    bwd(dx, sums, dy, x, y, mean, rstd, gamma, rows, c, lanes, slope);
}
extern "C" __global__ void __launch_bounds__(256, 2)
    instance_norm_bwd_bf16(bf16* dx, float* sums, const bf16* dy, const bf16* x, const bf16* y, const float* mean,
                           const float* rstd, const bf16* gamma, u32 rows, u32 c, u32 lanes, float slope) {
    bwd(dx, sums, dy, x, y, mean, rstd, gamma, rows, c, lanes, slope);
}
extern "C" __global__ void __launch_bounds__(256, 2)
    instance_norm_bwd_f16(f16* dx, float* sums, const f16* dy, const f16* x, const f16* y, const float* mean,
                          const float* rstd, const f16* gamma, u32 rows, u32 c, u32 lanes, float slope) {
    bwd(dx, sums, dy, x, y, mean, rstd, gamma, rows, c, lanes, slope);
}

extern "C" __global__ void __launch_bounds__(256)
    instance_norm_bwd_sums_f32(float* sums, const float* dy, const float* x, const float* y, const float* mean,
                               const float* rstd, u32 rows, u32 c, u32 lanes, u32 split_rows, float slope) {
    bwd_sums(sums, dy, x, y, mean, rstd, rows, c, lanes, split_rows, slope);
}
extern "C" __global__ void __launch_bounds__(256)
    instance_norm_bwd_sums_bf16(float* sums, const bf16* dy, const bf16* x, const bf16* y, const float* mean,
                                const float* rstd, u32 rows, u32 c, u32 lanes, u32 split_rows, float slope) {
    bwd_sums(sums, dy, x, y, mean, rstd, rows, c, lanes, split_rows, slope);
}
extern "C" __global__ void __launch_bounds__(256)
    instance_norm_bwd_sums_f16(float* sums, const f16* dy, const f16* x, const f16* y, const float* mean,
                               const float* rstd, u32 rows, u32 c, u32 lanes, u32 split_rows, float slope) {
    bwd_sums(sums, dy, x, y, mean, rstd, rows, c, lanes, split_rows, slope);
}

extern "C" __global__ void __launch_bounds__(256)
    instance_norm_bwd_apply_f32(float* dx, const float* sums, const float* dy, const float* x, const float* y,
                                const float* mean, const float* rstd, const float* gamma, u32 rows, u32 c, u32 lanes,
                                u32 split_rows, float slope) {
    bwd_apply(dx, sums, dy, x, y, mean, rstd, gamma, rows, c, lanes, split_rows, slope);
}
extern "C" __global__ void __launch_bounds__(256)
    instance_norm_bwd_apply_bf16(bf16* dx, const float* sums, const bf16* dy, const bf16* x, const bf16* y,
                                 const float* mean, const float* rstd, const bf16* gamma, u32 rows, u32 c, u32 lanes,
                                 u32 split_rows, float slope) {
    bwd_apply(dx, sums, dy, x, y, mean, rstd, gamma, rows, c, lanes, split_rows, slope);
}
extern "C" __global__ void __launch_bounds__(256)
    instance_norm_bwd_apply_f16(f16* dx, const float* sums, const f16* dy, const f16* x, const f16* y,
                                const float* mean, const float* rstd, const f16* gamma, u32 rows, u32 c, u32 lanes,
                                u32 split_rows, float slope) {
    bwd_apply(dx, sums, dy, x, y, mean, rstd, gamma, rows, c, lanes, split_rows, slope);
}

extern "C" __global__ void __launch_bounds__(256)
    instance_norm_bwd_params_f32(float* dgamma, float* dbeta, const float* sums, u32 count, u32 c) {
    bwd_params(dgamma, dbeta, sums, count, c);
}
