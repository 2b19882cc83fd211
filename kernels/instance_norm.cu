// Instance norm, y = act(gamma * (x - mean) * rstd + beta + residual), with mean and rstd = 1 / sqrt(variance + eps) of
// every channel of every image over its rows = h * w positions. Its gradient, with dz = dy * act'(y) and
// xhat = (x - mean) * rstd:
//     dx = gamma * rstd * (dz - mean(dz) - xhat * mean(dz * xhat)), dgamma = sum of dz * xhat, dbeta = sum of dz.
//
// Shapes: x, residual, y, dy, dx (n, rows, c); gamma, beta, dgamma, dbeta (c); mean, rstd (n, c), always f32.
//
// Threads: 256 as 256 / lanes rows by `lanes` (a power of two up to 32) packs of channels. A pack is 16 bytes where c
// is a multiple of that, else one value. blockIdx.x = image * chunks of channels + chunk, blockIdx.y = split over rows.
//
// Small maps (rows <= 8 * 256 / lanes): one launch. Every thread keeps its up to 8 packs in registers from the first
// read to the result, so each tensor crosses the memory bus once: instance_norm_fwd, instance_norm_bwd.
// Large maps: instance_norm_stats leaves mean and sum of squared deviations of every split, instance_norm_apply merges
// them (Chan et al.) and applies; instance_norm_bwd_sums and instance_norm_bwd_apply likewise. x is read twice in
// forward (the second time often from L2), dy, x and y twice in backward.
// Behind a convolution: if its depth is split, `parts` not null, instance_norm_fwd reads the parts, adds them and also
// writes x (`sum`), which spares the launch that would add them, and reading x. Of large maps the convolution leaves the
// moments of groups of positions, and instance_norm_apply merges those: no instance_norm_stats, x is read once. Not of
// small maps without parts, since instance_norm_fwd reads x once anyway: moments would be additional bytes. Nor of large
// ones behind a split depth, which are rare: a large map is tiles enough. Sectors by the emulator's count, norm and what
// adds parts, f32, 2 images: 8x8x512 in 6 parts 74,752 to 66,560, 16x16x256 in 3 parts 98,816 to 82,432; 64x64x64 behind
// 32-row tiles 206,880 to 200,736, the worst ratio of groups to rows that is taken; bf16, 128x128x32 behind 128-row tiles
// 217,104 to 198,672. Packs of 16-bit numbers touch each sector of their parts twice in a row, the second time in L1.
// Parameters: instance_norm_bwd_params adds what the images and splits give to dgamma and dbeta, f32 in all programs.
//
// Statistics are true two-pass sums, never E[x^2] - mean^2. Order of every sum: rows of a thread, shuffles over the
// rows of a warp, warps in turn, slabs in turn, splits or groups in up to 8 shares, shares in turn. It depends on the
// sizes and the grid alone.
//
// Shared memory: 2,304 bytes (8 warps' sums and their total, for up to 64 channels; instance_norm_bwd_params 2,112).
// Registers a thread (f32 / 16-bit, ptxas, sm_90): fwd 66 / 80, stats 66 / 89, apply 38 / 61, bwd 119 / 128 (two
// blocks a multiprocessor), bwd_sums 40 / 64, bwd_apply 48 / 64, bwd_params 24.
//
// Bytes and flops, forward of 5 x 16x16 x 512 in f32 (655,360 values): small path 2.6 MB in, 2.6 MB out, residual 2.6
// MB more, about 9 flops a value, 5.9 MFLOP: bound by memory, 1.6 to 2.4 us at 3.35 TB/s. Backward: 7.9 MB in (5.2
// without activation), 2.6 MB out, about 14 flops a value.
//
// Fuses: sum of a convolution's parts, statistics, scale and shift, residual, activation, conversion; in backward the activation's derivative, told
// from y, and both parameter gradients' partial sums.
//
// Numbers: 8 packs a thread, because 16 would halve the number of resident blocks; at least two packs side by side,
// since DRAM sectors are 32 bytes. Chosen from ptxas' register counts and the memory layout, without a GPU to time on.
#include "common.cuh"

constexpr u32 THREADS = 256;
constexpr u32 WARPS = THREADS / WARP;
// Packs of one tensor that a thread holds: a slab is KEEP * THREADS / lanes rows.
constexpr u32 KEEP = 8;
// Packs of x, dy and y under way at the same time in backward.
constexpr u32 BATCH = 4;
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

// Makes the compiler forget what it computed from the words, so that it unpacks them again instead of keeping floats.
template <class T, u32 W> __device__ __forceinline__ void forget(Pack<T, W>& x) {
    if constexpr (W == 8) asm volatile("" : "+r"(x.words.x), "+r"(x.words.y), "+r"(x.words.z), "+r"(x.words.w));
}

// Sums each of a thread's values over the rows of the block, times `scale`: the same bits in all rows. A barrier.
template <u32 W> __device__ __forceinline__ void sum_rows(float (&v)[W], u32 lanes, float scale, Shared& s) {
    const u32 warp = threadIdx.x / WARP, thread = threadIdx.x % WARP, lane = threadIdx.x % lanes;
    for (u32 offset = WARP / 2; offset >= lanes; offset /= 2) {
#pragma unroll
        for (u32 i = 0; i < W; ++i) v[i] += __shfl_xor_sync(FULL, v[i], offset);
    }
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
#pragma unroll
        for (u32 i = 0; i < W; ++i) mean[p.image * c + p.channel + i] = m[i], rstd[p.image * c + p.channel + i] = r[i];
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

// The rows of a split, in whole slabs except for the last.
struct Split {
    u32 first, end;

    __device__ __forceinline__ Split(u32 rows, u32 split_rows) {
        first = blockIdx.y * split_rows;
        end = min(first + split_rows, rows);
    }
};

// What the splits leave: [image][split][2][c].
template <u32 W> __device__ __forceinline__ u32 partial_at(const Place<W>& p, u32 split, u32 splits) {
    return (p.image * splits + split) * 2 * p.c + p.channel;
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
    if (p.row == 0 && p.inside) {
        const u32 at = partial_at(p, blockIdx.y, gridDim.y);
#pragma unroll
        for (u32 i = 0; i < W; ++i) partial[at + i] = mean[i], partial[at + c + i] = m2[i];
    }
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

// The channel that the i-th of a block's first threads looks after, one thread a channel.
template <u32 W> __device__ __forceinline__ u32 block_channel(const Place<W>& p) {
    return p.channel - p.lane * W + threadIdx.x;
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

// What backward needs of one thread's channels.
template <class T, u32 W> struct Normalised {
    float mean[W], rstd[W];

    __device__ __forceinline__ Normalised(const float* m, const float* r, const Place<W>& p) {
#pragma unroll
        for (u32 i = 0; i < W; ++i) {
            mean[i] = p.inside ? m[p.image * p.c + p.channel + i] : 0.0f;
            rstd[i] = p.inside ? r[p.image * p.c + p.channel + i] : 0.0f;
        }
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

template <class T, u32 W>
__device__ __forceinline__ void bwd_packs(T* __restrict__ dx, float* sums, const T* __restrict__ dy,
                                          const T* __restrict__ x, const T* __restrict__ y, const float* mean,
                                          const float* rstd, const T* __restrict__ gamma, u32 rows, u32 c, u32 lanes,
                                          float slope, Shared& s) {
    const Place<W> p(c, lanes);
    const Normalised<T, W> norm(mean, rstd, p);
    Pack<T, W> dys[KEEP], xs[KEEP];
    u32 signs[KEEP];
    float s1[W], s2[W], dz[W], f[W];
#pragma unroll
    for (u32 i = 0; i < W; ++i) s1[i] = s2[i] = 0.0f;
#pragma unroll
    for (u32 b = 0; b < KEEP; b += BATCH) {
        const u32 first = b * p.step;
        if (first >= rows) break;
        Pack<T, W> ys[BATCH];
        each_row<BATCH>(p, first, rows, [&](u32 k, u32 row) {
            const u32 at = p.at(rows, row);
            dys[b + k] = load_pack<W>(dy + at);
            xs[b + k] = load_pack<W>(x + at);
            if (slope != 1.0f) ys[k] = load_pack<W>(y + at);
        });
        each_row<BATCH>(p, first, rows, [&](u32 k, u32) {
            signs[b + k] = slope != 1.0f ? positive(ys[k]) : FULL;
            unpack_dz(dz, dys[b + k], signs[b + k], slope);
            unpack(f, xs[b + k]);
            norm.add(s1, s2, dz, f);
            forget(dys[b + k]);
            forget(xs[b + k]);
        });
    }
    sum_rows(s1, lanes, 1.0f, s);
    sum_rows(s2, lanes, 1.0f, s);
    if (sums != nullptr && p.row == 0 && p.inside) {
        const u32 at = partial_at(p, 0, 1);
#pragma unroll
        for (u32 i = 0; i < W; ++i) sums[at + i] = s1[i], sums[at + c + i] = s2[i];
    }
    const float inverse = 1.0f / rows;
    float scale[W];
    gradient_scale(scale, norm.rstd, gamma, p);
#pragma unroll
    for (u32 i = 0; i < W; ++i) s1[i] *= inverse, s2[i] *= inverse;
    each_row<KEEP>(p, 0, rows, [&](u32 k, u32 row) {
        unpack_dz(dz, dys[k], signs[k], slope);
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
            const u32 signs = slope != 1.0f ? positive(load_pack<W>(y + at)) : FULL;
            unpack_dz(dz, load_pack<W>(dy + at), signs, slope);
            unpack(f, load_pack<W>(x + at));
            norm.add(s1, s2, dz, f);
        }
    }
    sum_rows(s1, lanes, 1.0f, s);
    sum_rows(s2, lanes, 1.0f, s);
    if (p.row == 0 && p.inside) {
        const u32 at = partial_at(p, blockIdx.y, gridDim.y);
#pragma unroll
        for (u32 i = 0; i < W; ++i) sums[at + i] = s1[i], sums[at + c + i] = s2[i];
    }
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
        const u32 signs = slope != 1.0f ? positive(load_pack<W>(y + at)) : FULL;
        unpack_dz(dz, load_pack<W>(dy + at), signs, slope);
        unpack(f, load_pack<W>(x + at));
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
