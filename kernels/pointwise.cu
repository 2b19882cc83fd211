// Element by element, and scalars:
// activate_fwd      y = x < 0 ? slope * x : x
// activate_bwd      dx = y > 0 ? dy : slope * dy
// add_fwd           y = a + b
// fill_fwd          y = value
// weighted_sum_fwd  y = sum of weight_i * x_i over up to 8 scalars
// weighted_sum_bwd  dx = weight * dy, scalars
// batch_norm_fwd    y = activation(gamma * (x - mean) / sqrt(var + eps) + beta + residual), channel i % c; residual may be null
// running_stats     r += momentum * (s - r) over c running means and variances, s those of a batch
//
// Shapes: all tensors n elements; mean, var, gamma, beta c. y may be x (or a), dx may be dy: each thread reads what it overwrites, before.
//
// Threads: one a pack of 16 bytes, the last n % (values in a pack) by the first threads one by one.
// Grid: (n / 256 / values in a pack, rounded up); the weighted sum is one thread.
//
// Shared memory: none. Registers a thread (ptxas, sm_90): 10 to 40.
//
// Bytes and flops: activate_fwd over 5 x 64x64 x 64 in f32: 5.2 MB in, 5.2 MB out, 1.3 MFLOP; 3.1 us at 3.35 TB/s.
// activate_bwd and add_fwd read twice as much.
//
// Fuses nothing: activations and sums that can be are fused into the op before them. Numbers: one pack a thread, chosen
// without a GPU.
#include "common.cuh"

// Calls pack_at(i) for the pack at element i and one_at(i) for single elements behind the last pack.
template <class T, class P, class O> __device__ __forceinline__ void elements(u32 n, P pack_at, O one_at) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x, packs = n / LANES<T>;
    if (i < packs) pack_at(i * LANES<T>);
    if (i < n % LANES<T>) one_at(packs * LANES<T> + i);
}

template <u32 W, class T> __device__ __forceinline__ void activate_at(T* y, const T* x, u32 i, float slope) {
    float f[W];
    unpack(f, load_pack<W>(x + i));
#pragma unroll
    for (u32 k = 0; k < W; ++k) f[k] = activate(f[k], slope);
    store_pack(y + i, pack<T>(f));
}

template <class T> __device__ __forceinline__ void activate_fwd(T* y, const T* x, u32 n, float slope) {
    elements<T>(
        n, [&](u32 i) { activate_at<LANES<T>>(y, x, i, slope); }, [&](u32 i) { activate_at<1>(y, x, i, slope); });
}

template <u32 W, class T>
__device__ __forceinline__ void activate_bwd_at(T* dx, const T* dy, const T* y, u32 i, float slope) {
    float d[W], f[W];
    unpack(d, load_pack<W>(dy + i));
    unpack(f, load_pack<W>(y + i));
#pragma unroll
    for (u32 k = 0; k < W; ++k) d[k] *= activation_slope(f[k], slope);
    store_pack(dx + i, pack<T>(d));
}

template <class T> __device__ __forceinline__ void activate_bwd(T* dx, const T* dy, const T* y, u32 n, float slope) {
    elements<T>(
        n, [&](u32 i) { activate_bwd_at<LANES<T>>(dx, dy, y, i, slope); },
        [&](u32 i) { activate_bwd_at<1>(dx, dy, y, i, slope); });
}

template <u32 W, class T> __device__ __forceinline__ void add_at(T* y, const T* a, const T* b, u32 i) {
    float f[W], g[W];
    unpack(f, load_pack<W>(a + i));
    unpack(g, load_pack<W>(b + i));
#pragma unroll
    for (u32 k = 0; k < W; ++k) f[k] += g[k];
    store_pack(y + i, pack<T>(f));
}

template <class T> __device__ __forceinline__ void add_fwd(T* y, const T* a, const T* b, u32 n) {
    elements<T>(
        n, [&](u32 i) { add_at<LANES<T>>(y, a, b, i); }, [&](u32 i) { add_at<1>(y, a, b, i); });
}

template <u32 W, class T> __device__ __forceinline__ void fill_at(T* y, u32 i, float value) {
    float f[W];
#pragma unroll
    for (u32 k = 0; k < W; ++k) f[k] = value;
    store_pack(y + i, pack<T>(f));
}

template <class T> __device__ __forceinline__ void fill_fwd(T* y, u32 n, float value) {
    elements<T>(
        n, [&](u32 i) { fill_at<LANES<T>>(y, i, value); }, [&](u32 i) { fill_at<1>(y, i, value); });
}

template <u32 W, class T>
__device__ __forceinline__ void batch_norm_at(T* y, const T* x, const T* mean, const T* var, const T* gamma, const T* beta,
                                              const T* residual, u32 i, u32 c, float eps, float slope) {
    float f[W], r[W] = {};
    unpack(f, load_pack<W>(x + i));
    if (residual) unpack(r, load_pack<W>(residual + i));
#pragma unroll
    for (u32 k = 0; k < W; ++k) {
        const u32 j = (i + k) % c;
        const float scale = to_f32(gamma[j]) * rsqrtf(to_f32(var[j]) + eps);
        f[k] = activate(fmaf(f[k] - to_f32(mean[j]), scale, to_f32(beta[j])) + r[k], slope);
    }
    store_pack(y + i, pack<T>(f));
}

template <class T>
__device__ __forceinline__ void batch_norm_fwd(T* y, const T* x, const T* mean, const T* var, const T* gamma, const T* beta,
                                               const T* residual, u32 n, u32 c, float eps, float slope) {
    elements<T>(
        n, [&](u32 i) { batch_norm_at<LANES<T>>(y, x, mean, var, gamma, beta, residual, i, c, eps, slope); },
        [&](u32 i) { batch_norm_at<1>(y, x, mean, var, gamma, beta, residual, i, c, eps, slope); });
}

// Where a network's running statistics of c channels begin; without_bias = count / (count - 1).
struct RunningUpdate {
    u32 c, mean_at, var_at;
    float momentum, eps, without_bias;
};

extern "C" __global__ void __launch_bounds__(256) activate_fwd_f32(float* y, const float* x, u32 n, float slope) {
    activate_fwd(y, x, n, slope);
}
extern "C" __global__ void __launch_bounds__(256) activate_fwd_bf16(bf16* y, const bf16* x, u32 n, float slope) {
    activate_fwd(y, x, n, slope);
}
extern "C" __global__ void __launch_bounds__(256) activate_fwd_f16(f16* y, const f16* x, u32 n, float slope) {
    activate_fwd(y, x, n, slope);
}
extern "C" __global__ void __launch_bounds__(256)
    activate_bwd_f32(float* dx, const float* dy, const float* y, u32 n, float slope) {
    activate_bwd(dx, dy, y, n, slope);
}
extern "C" __global__ void __launch_bounds__(256)
    activate_bwd_bf16(bf16* dx, const bf16* dy, const bf16* y, u32 n, float slope) {
    activate_bwd(dx, dy, y, n, slope);
}
extern "C" __global__ void __launch_bounds__(256)
    activate_bwd_f16(f16* dx, const f16* dy, const f16* y, u32 n, float slope) {
    activate_bwd(dx, dy, y, n, slope);
}
extern "C" __global__ void __launch_bounds__(256) add_fwd_f32(float* y, const float* a, const float* b, u32 n) {
    add_fwd(y, a, b, n);
}
extern "C" __global__ void __launch_bounds__(256) add_fwd_bf16(bf16* y, const bf16* a, const bf16* b, u32 n) {
    add_fwd(y, a, b, n);
}
extern "C" __global__ void __launch_bounds__(256) add_fwd_f16(f16* y, const f16* a, const f16* b, u32 n) {
    add_fwd(y, a, b, n);
}
extern "C" __global__ void __launch_bounds__(256) fill_fwd_f32(float* y, u32 n, float value) { fill_fwd(y, n, value); }

struct Weights {
    u32 count;
    float weight[8];
};

extern "C" __global__ void __launch_bounds__(32)
    weighted_sum_fwd_f32(float* y, const float* x0, const float* x1, const float* x2, const float* x3, const float* x4,
                         const float* x5, const float* x6, const float* x7, Weights w) {
    const float* const x[8] = {x0, x1, x2, x3, x4, x5, x6, x7};
    if (threadIdx.x != 0) return;
    float sum = 0.0f;
#pragma unroll
    for (u32 i = 0; i < 8; ++i) {
        if (i < w.count) sum += w.weight[i] * *x[i];
    }
    *y = sum;
}

extern "C" __global__ void __launch_bounds__(32) weighted_sum_bwd_f32(float* dx, const float* dy, float weight) {
    if (threadIdx.x == 0) *dx = weight * *dy;
}
extern "C" __global__ void __launch_bounds__(256) batch_norm_fwd_f32(float* y, const float* x, const float* mean, const float* var, const float* gamma, const float* beta, const float* residual, u32 n, u32 c, float eps, float slope) { batch_norm_fwd(y, x, mean, var, gamma, beta, residual, n, c, eps, slope); }
extern "C" __global__ void __launch_bounds__(256) batch_norm_fwd_bf16(bf16* y, const bf16* x, const bf16* mean, const bf16* var, const bf16* gamma, const bf16* beta, const bf16* residual, u32 n, u32 c, float eps, float slope) { batch_norm_fwd(y, x, mean, var, gamma, beta, residual, n, c, eps, slope); }
extern "C" __global__ void __launch_bounds__(256) batch_norm_fwd_f16(f16* y, const f16* x, const f16* mean, const f16* var, const f16* gamma, const f16* beta, const f16* residual, u32 n, u32 c, float eps, float slope) { batch_norm_fwd(y, x, mean, var, gamma, beta, residual, n, c, eps, slope); }
extern "C" __global__ void __launch_bounds__(256) running_stats_f32(float* params, const float* mean, const float* rstd, RunningUpdate p) {
    const u32 i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.c) return;
    float *m = params + p.mean_at + i, *v = params + p.var_at + i;
    const float r = rstd[i], var = (1.0f / (r * r) - p.eps) * p.without_bias;
    *m = fmaf(p.momentum, mean[i] - *m, *m);
    *v = fmaf(p.momentum, var - *v, *v);
}
