// Bilinear resizing of feature maps with pixels as areas (align_corners=False): y[n, oy, ox, c] between the four neighbours of
// source coordinate (o + 1/2) * from / to - 1/2, cut at 0, along both axes.
//
// Shapes: x (n, h, w, c), y (n, oh, ow, c).
//
// Threads: one a pack of neighbouring channels of y (16 bytes where c is a multiple of that, else one value), packs of
// one position side by side, so a warp reads and writes whole lines. Coordinates are divided in integers, so that they are
// exact. Grid: (packs / 256, rounded up).
//
// Shared memory: none. Registers a thread (ptxas, sm_90): 26 (f32), 36 (16-bit).
//
// Bytes and flops: a layer of 14x14x256 to 28x28, one picture in f32: 0.2 MB in (its pixels are read four times each, from L1
// and L2), 0.8 MB out, 6 flops a value: bound by the launch.
//
// Fuses nothing. Numbers: one pack a thread, chosen without a GPU.
#include "common.cuh"

struct Interpolate {
    u32 n, h, w, c, oh, ow;
};

struct Source {
    u32 near, far;
    float t;
};

// Neighbours and weight of output coordinate o.
__device__ __forceinline__ Source source(u32 o, u32 from, u32 to) {
    const u32 position = max((2 * o + 1) * from, to) - to, i = position / (2 * to);
    return {i, min(i + 1, from - 1), static_cast<float>(position - i * 2 * to) / (2 * to)};
}

template <class T, u32 W>
__device__ __forceinline__ void interpolate_packs(T* __restrict__ y, const T* __restrict__ x, const Interpolate& p) {
    const u32 packs = p.c / W, i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.n * p.oh * p.ow * packs) return;
    const u32 channel = i % packs * W, position = i / packs;
    const u32 ox = position % p.ow, oy = position / p.ow % p.oh, image = position / p.ow / p.oh;
    const Source down = source(oy, p.h, p.oh), along = source(ox, p.w, p.ow);
    const T* upper = x + (image * p.h + down.near) * p.w * p.c + channel;
    const T* lower = x + (image * p.h + down.far) * p.w * p.c + channel;
    float a[W], b[W], d[W], e[W];
    unpack(a, load_pack<W>(upper + along.near * p.c));
    unpack(b, load_pack<W>(upper + along.far * p.c));
    unpack(d, load_pack<W>(lower + along.near * p.c));
    unpack(e, load_pack<W>(lower + along.far * p.c));
#pragma unroll
    for (u32 k = 0; k < W; ++k) {
        const float above = a[k] + (b[k] - a[k]) * along.t, below = d[k] + (e[k] - d[k]) * along.t;
        a[k] = above + (below - above) * down.t;
    }
    store_pack(y + position * p.c + channel, pack<T>(a));
}

template <class T> __device__ __forceinline__ void interpolate(T* y, const T* x, const Interpolate& p) {
    if (p.c % LANES<T> == 0) {
        interpolate_packs<T, LANES<T>>(y, x, p);
    } else {
        interpolate_packs<T, 1>(y, x, p);
    }
}

extern "C" __global__ void __launch_bounds__(256) interpolate_fwd_f32(float* y, const float* x, Interpolate p) {
    interpolate(y, x, p);
}
extern "C" __global__ void __launch_bounds__(256) interpolate_fwd_bf16(bf16* y, const bf16* x, Interpolate p) {
    interpolate(y, x, p);
}
extern "C" __global__ void __launch_bounds__(256) interpolate_fwd_f16(f16* y, const f16* x, Interpolate p) {
    interpolate(y, x, p);
}
