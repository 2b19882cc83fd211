// Instance norm, y = act(gamma * (x - mean) * rstd + beta + residual), with mean and rstd = 1 / sqrt(variance + eps) of
// every channel of every image over its rows = h * w positions. Its gradient is instance_norm_bwd.cu.
//
// Shapes: x, residual, y (n, rows, c); gamma, beta (c); mean, rstd (n, c), always f32.
//
// Threads: as instance_norm.cuh says, blockIdx.y = split over rows.
//
// Small maps (rows <= 8 * 256 / lanes): one launch, instance_norm_fwd. Every thread keeps its up to 8 packs in registers
// from the first read to the result, so each tensor crosses the memory bus once.
// Large maps: instance_norm_stats leaves mean and sum of squared deviations of every split, instance_norm_apply merges
// them (Chan et al.) and applies. x is read twice, the second time often from L2.
// Behind a convolution: if its depth is split, `parts` not null, instance_norm_fwd reads the parts, adds them and also
// writes x (`sum`), which spares the launch that would add them, and reading x. Of large maps the convolution leaves the
// moments of groups of positions, and instance_norm_apply merges those: no instance_norm_stats, x is read once. Not of
// small maps without parts, since instance_norm_fwd reads x once anyway: moments would be additional bytes. Nor of large
// ones behind a split depth, which are rare: a large map is tiles enough. Sectors by the emulator's count, norm and what
// adds parts, f32, 2 images: 8x8x512 in 6 parts 74,752 to 66,560, 16x16x256 in 3 parts 98,816 to 82,432; 64x64x64 behind
// 32-row tiles 206,880 to 200,736, the worst ratio of groups to rows that is taken; bf16, 128x128x32 behind 128-row tiles
// 217,104 to 198,672. Packs of 16-bit numbers touch each sector of their parts twice in a row, the second time in L1.
//
// Statistics are true two-pass sums, never E[x^2] - mean^2. Order of every sum: rows of a thread, shuffles over the
// rows of a warp, warps in turn, slabs in turn, splits or groups in up to 8 shares, shares in turn. It depends on the
// sizes and the grid alone.
//
// Shared memory: 2,304 bytes (8 warps' sums and their total, for up to 64 channels).
// Registers a thread (f32 / 16-bit, ptxas, sm_90): fwd 66 / 79, stats 66 / 89, apply 38 / 61.
//
// Bytes and flops of 5 x 16x16 x 512 in f32 (655,360 values): small path 2.6 MB in, 2.6 MB out, residual 2.6 MB more,
// about 9 flops a value, 5.9 MFLOP: bound by memory, 1.6 to 2.4 us at 3.35 TB/s.
//
// Fuses: sum of a convolution's parts, statistics, scale and shift, residual, activation, conversion.
//
// Numbers: those of instance_norm.cuh.
#include "instance_norm.cuh"
// What a convolution with a split depth left: `splits` parts of `count` numbers each, whose sum is x. Null without one.
struct Parts {
    const float* from;
    u32 splits, count;

    // The pack of x at `at`, also put into `x`.
    template <u32 W, class T> __device__ __forceinline__ Pack<T, W> sum(T* x, u32 at) const {
        float f[W];
#pragma unroll
        for (u32 i = 0; i < W; ++i) f[i] = 0.0f;
        // Four loads under way; odd channel counts, which are rare, get shorter code instead.
#pragma unroll(W == 1 ? 1 : 16 / W)
        for (u32 split = 0; split < splits; ++split) {
            const float* part = from + static_cast<size_t>(split) * count + at;
            if constexpr (W == 1) {
                f[0] += part[0];
            } else {
#pragma unroll
                for (u32 i = 0; i < W; i += 4) {
                    const float4 v = *reinterpret_cast<const float4*>(part + i);
                    f[i] += v.x, f[i + 1] += v.y, f[i + 2] += v.z, f[i + 3] += v.w;
                }
            }
        }
        const Pack<T, W> p = pack<T>(f);
        store_pack(x + at, p);
        return p;
    }
};

// Mean and sum of squared deviations of the rows [first, end), which the threads hold in `keep`.
template <class T, u32 W>
__device__ __forceinline__ void moments(float (&mean)[W], float (&m2)[W], Pack<T, W> (&keep)[KEEP], const Place<W>& p,
                                        u32 first, u32 end, u32 lanes, Shared& s) {
    float f[W];
#pragma unroll
    for (u32 i = 0; i < W; ++i) mean[i] = m2[i] = 0.0f;
    each_row<KEEP>(p, first, end, [&](u32 k, u32) {
        unpack(f, keep[k]);
        forget(keep[k]);
#pragma unroll
        for (u32 i = 0; i < W; ++i) mean[i] += f[i];
    });
    sum_rows(mean, lanes, 1.0f / (end - first), s);
    each_row<KEEP>(p, first, end, [&](u32 k, u32) {
        unpack(f, keep[k]);
        forget(keep[k]);
#pragma unroll
        for (u32 i = 0; i < W; ++i) {
            const float d = f[i] - mean[i];
            m2[i] += d * d;
        }
    });
    sum_rows(m2, lanes, 1.0f, s);
}

// The parameters of one thread's channels: y = act((x - mean) * scale + shift + residual).
template <class T, u32 W> struct Affine {
    float scale[W], shift[W];

    __device__ __forceinline__ Affine(const float (&rstd)[W], const T* gamma, const T* beta, const Place<W>& p) {
#pragma unroll
        for (u32 i = 0; i < W; ++i) scale[i] = rstd[i], shift[i] = 0.0f;
        if (gamma == nullptr || !p.inside) return;
        float g[W];
        unpack(g, load_pack<W>(gamma + p.channel));
        unpack(shift, load_pack<W>(beta + p.channel));
#pragma unroll
        for (u32 i = 0; i < W; ++i) scale[i] *= g[i];
    }

    __device__ __forceinline__ Pack<T, W> apply(const Pack<T, W>& x, const float (&mean)[W], const T* residual, u32 at,
                                                float slope) const {
        float f[W], r[W];
        unpack(f, x);
#pragma unroll
        for (u32 i = 0; i < W; ++i) r[i] = 0.0f;
        if (residual != nullptr) unpack(r, load_pack<W>(residual + at));
#pragma unroll
        for (u32 i = 0; i < W; ++i) f[i] = activate((f[i] - mean[i]) * scale[i] + shift[i] + r[i], slope);
        return pack<T>(f);
    }
};

__device__ __forceinline__ float reciprocal_deviation(float m2, u32 rows, float eps) {
    return 1.0f / sqrtf(m2 / rows + eps);
}

template <class T, u32 W>
__device__ __forceinline__ void fwd_packs(T* __restrict__ y, float* mean, float* rstd, T* sum, const T* __restrict__ x,
                                          const T* __restrict__ gamma, const T* __restrict__ beta,
                                          const T* __restrict__ residual, const Parts& parts, u32 rows, u32 c,
                                          u32 lanes, float eps, float slope, Shared& s) {
    const Place<W> p(c, lanes);
    Pack<T, W> keep[KEEP];
    if (parts.from == nullptr) {
        each_row<KEEP>(p, 0, rows, [&](u32 k, u32 row) { keep[k] = load_pack<W>(x + p.at(rows, row)); });
    } else {
        each_row<KEEP>(p, 0, rows, [&](u32 k, u32 row) { keep[k] = parts.template sum<W>(sum, p.at(rows, row)); });
    }
    float m[W], r[W];
    moments(m, r, keep, p, 0, rows, lanes, s);
#pragma unroll
    for (u32 i = 0; i < W; ++i) r[i] = reciprocal_deviation(r[i], rows, eps);
    if (p.row == 0 && p.inside) {
        const u32 at = p.image * c + p.channel;
        store_floats(mean + at, m), store_floats(rstd + at, r);
    }
    const Affine<T, W> affine(r, gamma, beta, p);
    each_row<KEEP>(p, 0, rows, [&](u32 k, u32 row) {
        const u32 at = p.at(rows, row);
        store_pack(y + at, affine.apply(keep[k], m, residual, at, slope));
    });
}

// Forward of a map that fits a slab. Grid: (n * chunks).
template <class T>
__device__ __forceinline__ void fwd(T* y, float* mean, float* rstd, T* sum, const T* x, const T* gamma,
                                    const T* beta, const T* residual, const Parts& parts, u32 rows, u32 c, u32 lanes,
                                    float eps, float slope) {
    __shared__ Shared s;
    if (c % LANES<T> == 0) {
        fwd_packs<T, LANES<T>>(y, mean, rstd, sum, x, gamma, beta, residual, parts, rows, c, lanes, eps, slope, s);
    } else {
        fwd_packs<T, 1>(y, mean, rstd, sum, x, gamma, beta, residual, parts, rows, c, lanes, eps, slope, s);
    }
}

template <class T, u32 W>
__device__ __forceinline__ void stats_packs(float* partial, const T* __restrict__ x, u32 rows, u32 c, u32 lanes,
                                            u32 split_rows, Shared& s) {
    const Place<W> p(c, lanes);
    const Split split(rows, split_rows);
    const u32 slab = KEEP * p.step;
    float mean[W], m2[W];
    for (u32 first = split.first; first < split.end; first += slab) {
        const u32 end = min(first + slab, split.end);
        Pack<T, W> keep[KEEP];
        each_row<KEEP>(p, first, end, [&](u32 k, u32 row) { keep[k] = load_pack<W>(x + p.at(rows, row)); });
        float m[W], d2[W];
        moments(m, d2, keep, p, first, end, lanes, s);
        // Chan's merge with the slabs before; after the first slab the share is 1 and nothing was before.
        const float before = first - split.first, share = (end - first) / (before + (end - first));
#pragma unroll
        for (u32 i = 0; i < W; ++i) {
            const float delta = first == split.first ? 0.0f : m[i] - mean[i];
            m2[i] = first == split.first ? d2[i] : m2[i] + d2[i] + delta * delta * before * share;
            mean[i] = first == split.first ? m[i] : mean[i] + delta * share;
        }
    }
    store_partial(partial, mean, m2, p, blockIdx.y, gridDim.y);
}

// Moments of every split. Grid: (n * chunks, splits).
template <class T>
__device__ __forceinline__ void stats(float* partial, const T* x, u32 rows, u32 c, u32 lanes, u32 split_rows) {
    __shared__ Shared s;
    if (c % LANES<T> == 0) {
        stats_packs<T, LANES<T>>(partial, x, rows, c, lanes, split_rows, s);
    } else {
        stats_packs<T, 1>(partial, x, rows, c, lanes, split_rows, s);
    }
}

// Mean and sum of squared deviations of `count` rows.
struct Stats {
    float count = 0.0f, mean = 0.0f, m2 = 0.0f;

    // Chan's merge.
    __device__ __forceinline__ void add(float other, float other_mean, float other_m2) {
        count += other;
        const float share = other / count, delta = other_mean - mean;
        // In this order the first of all adds nothing, however large its mean.
        m2 += other_m2 + delta * ((count - other) * share) * delta;
        mean += delta * share;
    }
};

// What was left of one image: `groups` groups of `rows` rows, of which the last of every `map` rows may be shorter.
struct Groups {
    u32 groups, rows, map;

    __device__ __forceinline__ u32 count(u32 group) const {
        return min(rows, map - group % ceil_div(map, rows) * rows);
    }
};

template <class T, u32 W>
__device__ __forceinline__ void apply_packs(T* __restrict__ y, float* mean, float* rstd,
                                            const float* __restrict__ partial, const T* __restrict__ x,
                                            const T* __restrict__ gamma, const T* __restrict__ beta,
                                            const T* __restrict__ residual, const Groups& of, u32 rows, u32 c,
                                            u32 lanes, u32 split_rows, float eps, float slope, Shared& s) {
    const Place<W> p(c, lanes);
    const Split split(rows, split_rows);
    float* const block_mean = s.warp[0];
    float* const block_rstd = s.warp[WARPS / 2];
    // A thread merges one of up to WARPS shares of the groups of one channel, then one thread a channel the shares.
    const u32 channels = lanes * W, shares = min(WARPS, THREADS / channels), share = threadIdx.x / channels;
    const u32 channel = p.channel - p.lane * W + threadIdx.x % channels;
    float* const counts = s.total;
    if (share < shares) {
        Stats merged;
        if (channel < c) {
            const float* before = partial + static_cast<size_t>(p.image) * of.groups * 2 * c + channel;
            const u32 each = ceil_div(of.groups, shares), end = min((share + 1) * each, of.groups);
#pragma unroll 4
            for (u32 i = share * each; i < end; ++i) merged.add(of.count(i), before[i * 2 * c], before[i * 2 * c + c]);
        }
        if (threadIdx.x % channels == 0) counts[share] = merged.count;
        block_mean[threadIdx.x] = merged.mean, block_rstd[threadIdx.x] = merged.m2;
    }
    __syncthreads();
    if (threadIdx.x < channels && channel < c) {
        Stats merged{counts[0], block_mean[threadIdx.x], block_rstd[threadIdx.x]};
        for (u32 i = 1; i < shares && counts[i] > 0.0f; ++i) {
            merged.add(counts[i], block_mean[i * channels + threadIdx.x], block_rstd[i * channels + threadIdx.x]);
        }
        const float r = reciprocal_deviation(merged.m2, rows, eps);
        block_mean[threadIdx.x] = merged.mean, block_rstd[threadIdx.x] = r;
        if (blockIdx.y == 0) mean[p.image * c + channel] = merged.mean, rstd[p.image * c + channel] = r;
    }
    __syncthreads();
    float m[W], r[W];
#pragma unroll
    for (u32 i = 0; i < W; ++i) m[i] = r[i] = 0.0f;
    if (p.inside) {
#pragma unroll
        for (u32 i = 0; i < W; ++i) m[i] = block_mean[p.lane * W + i], r[i] = block_rstd[p.lane * W + i];
    }
    const Affine<T, W> affine(r, gamma, beta, p);
    if (!p.inside) return;
#pragma unroll 4
    for (u32 row = split.first + p.row; row < split.end; row += p.step) {
        const u32 at = p.at(rows, row);
        store_pack(y + at, affine.apply(load_pack<W>(x + at), m, residual, at, slope));
    }
}

// Merges the splits' moments and applies them. Grid: (n * chunks, splits).
template <class T>
__device__ __forceinline__ void apply(T* y, float* mean, float* rstd, const float* partial, const T* x, const T* gamma,
                                      const T* beta, const T* residual, const Groups& of, u32 rows, u32 c, u32 lanes,
                                      u32 split_rows, float eps, float slope) {
    __shared__ Shared s;
    if (c % LANES<T> == 0) {
        apply_packs<T, LANES<T>>(y, mean, rstd, partial, x, gamma, beta, residual, of, rows, c, lanes, split_rows,
                                 eps, slope, s);
    } else {
        apply_packs<T, 1>(y, mean, rstd, partial, x, gamma, beta, residual, of, rows, c, lanes, split_rows, eps, slope,
                          s);
    }
}

extern "C" __global__ void __launch_bounds__(256)
    instance_norm_fwd_f32(float* y, float* mean, float* rstd, float* sum, const float* x, const float* gamma,
                          const float* beta, const float* residual, const float* parts, u32 splits, u32 count, u32 rows,
                          u32 c, u32 lanes, float eps, float slope) {
    fwd(y, mean, rstd, sum, x, gamma, beta, residual, Parts{parts, splits, count}, rows, c, lanes, eps, slope);
}
extern "C" __global__ void __launch_bounds__(256)
    instance_norm_fwd_bf16(bf16* y, float* mean, float* rstd, bf16* sum, const bf16* x, const bf16* gamma,
                          const bf16* beta, const bf16* residual, const float* parts, u32 splits, u32 count, u32 rows,
                          u32 c, u32 lanes, float eps, float slope) {
    fwd(y, mean, rstd, sum, x, gamma, beta, residual, Parts{parts, splits, count}, rows, c, lanes, eps, slope);
}
extern "C" __global__ void __launch_bounds__(256)
    instance_norm_fwd_f16(f16* y, float* mean, float* rstd, f16* sum, const f16* x, const f16* gamma,
                          const f16* beta, const f16* residual, const float* parts, u32 splits, u32 count, u32 rows,
                          u32 c, u32 lanes, float eps, float slope) {
    fwd(y, mean, rstd, sum, x, gamma, beta, residual, Parts{parts, splits, count}, rows, c, lanes, eps, slope);
}

extern "C" __global__ void __launch_bounds__(256)
    instance_norm_stats_f32(float* partial, const float* x, u32 rows, u32 c, u32 lanes, u32 split_rows) {
    stats(partial, x, rows, c, lanes, split_rows);
}
extern "C" __global__ void __launch_bounds__(256)
    instance_norm_stats_bf16(float* partial, const bf16* x, u32 rows, u32 c, u32 lanes, u32 split_rows) {
    stats(partial, x, rows, c, lanes, split_rows);
}
extern "C" __global__ void __launch_bounds__(256)
    instance_norm_stats_f16(float* partial, const f16* x, u32 rows, u32 c, u32 lanes, u32 split_rows) {
    stats(partial, x, rows, c, lanes, split_rows);
}

extern "C" __global__ void __launch_bounds__(256)
    instance_norm_apply_f32(float* y, float* mean, float* rstd, const float* partial, const float* x,
                            const float* gamma, const float* beta, const float* residual, u32 groups, u32 group_rows,
                            u32 map, u32 rows, u32 c, u32 lanes, u32 split_rows, float eps, float slope) {
    const Groups of{groups, group_rows, map};
    apply(y, mean, rstd, partial, x, gamma, beta, residual, of, rows, c, lanes, split_rows, eps, slope);
}
extern "C" __global__ void __launch_bounds__(256)
    instance_norm_apply_bf16(bf16* y, float* mean, float* rstd, const float* partial, const bf16* x,
                            const bf16* gamma, const bf16* beta, const bf16* residual, u32 groups, u32 group_rows,
                            u32 map, u32 rows, u32 c, u32 lanes, u32 split_rows, float eps, float slope) {
    const Groups of{groups, group_rows, map};
    apply(y, mean, rstd, partial, x, gamma, beta, residual, of, rows, c, lanes, split_rows, eps, slope);
}
extern "C" __global__ void __launch_bounds__(256)
    instance_norm_apply_f16(f16* y, float* mean, float* rstd, const float* partial, const f16* x,
                            const f16* gamma, const f16* beta, const f16* residual, u32 groups, u32 group_rows,
                            u32 map, u32 rows, u32 c, u32 lanes, u32 split_rows, float eps, float slope) {
    const Groups of{groups, group_rows, map};
    apply(y, mean, rstd, partial, x, gamma, beta, residual, of, rows, c, lanes, split_rows, eps, slope);
}
