// Cosine distances between feature maps a and their reconstructions b, both (n, h, w, c).
//
// Loss, eq. (2): L = mean over images first..first+images of 1 - a.b / (|a| |b|), each image one vector of len = h*w*c elements.
//   partial: a block of 256 threads sums a*a, b*b and a*b over one chunk of one image (grid: images * chunks) in f32.
//   total:   one block; a warp adds the chunks of an image in f64 and saves |a|, |b| (at least 1e-8) and a.b in f32, then
//            the warps' distances are added in order. Splitting an image is what fills the card: a batch has a few.
//   bwd:     db = a * (-s / (|a| |b|)) + b * (s * a.b / (|a| |b|^3)), s = dy / images; zero for images without a loss.
//            A block takes one chunk of one image. With `swapped`, saved[0] belongs to b.
// Map, eq. (14): y = 1 - a.b / (|a| |b|) over the c channels of a position; a warp takes one position. 1 to 4 layers in one
//   launch: positions are numbered through the layers, and a warp looks up which one its number falls into.
//
// Fuses: three dot products in one reading of a and b; the loss's mean and saved lengths in one launch; all layers' maps.
// 16-byte loads when an image (loss) or a position (map) is made of whole 16 bytes, single elements otherwise.
//
// Shared memory: 32 bytes (partial), 64 bytes (total), none (bwd, map).
// Registers on sm_90: loss 28 to 32, map 32 (38 on sm_86).
// One launch moves, with e = bytes of an element: partial 2*e*images*len bytes, 6 flops per element; bwd 3*e*n*len bytes,
//   3 flops per element; map 2*e bytes and 6 flops per element of all layers.
// Chunk and block sizes were chosen without a GPU at hand: enough blocks for 100 multiprocessors at the encoder's sizes (8
// images of 16x16x1024), and at most 64 additions in a row in f32.
#include "common.cuh"

constexpr u32 THREADS = 256;
constexpr float EPS = 1e-8f;

struct Products {
    float aa = 0.0f, bb = 0.0f, ab = 0.0f;

    __device__ __forceinline__ void add(float a, float b) {
        aa = fmaf(a, a, aa);
        bb = fmaf(b, b, bb);
        ab = fmaf(a, b, ab);
    }
};

// Products over elements begin..end, as far as thread `id` of `threads` takes them. `vectors`: a and b are 16-byte
// aligned, and begin and end are multiples of LANES.
template <class T>
__device__ __forceinline__ Products products(const T* a, const T* b, u32 begin, u32 end, bool vectors, u32 id, u32 threads) {
    Products sum;
    if (vectors) {
#pragma unroll 2
        for (u32 i = begin + id * LANES<T>; i < end; i += threads * LANES<T>) {
            const Vec<T> va = load16(a + i), vb = load16(b + i);
#pragma unroll
            for (u32 j = 0; j < LANES<T>; ++j) sum.add(to_f32(va.v[j]), to_f32(vb.v[j]));
        }
    } else {
        for (u32 i = begin + id; i < end; i += threads) sum.add(to_f32(a[i]), to_f32(b[i]));
    }
    return sum;
}

// At least EPS; NaN stays NaN.
template <class F> __device__ __forceinline__ F length(F square) {
    const F root = sqrt(square);
    return root < F(EPS) ? F(EPS) : root;
}

template <class T>
__device__ __forceinline__ void loss_partial(float* partial, const T* a, const T* b, u32 first, u32 len, u32 chunk,
                                             u32 chunks) {
    __shared__ float shared[THREADS / WARP];
    const size_t image = (size_t)(first + blockIdx.x / chunks) * len;
    const u32 begin = blockIdx.x % chunks * chunk, end = min(begin + chunk, len);
    const Products sum = products(a + image, b + image, begin, end, len % LANES<T> == 0, threadIdx.x, THREADS);
    const float aa = block_sum(sum.aa, shared), bb = block_sum(sum.bb, shared), ab = block_sum(sum.ab, shared);
    if (threadIdx.x == 0) {
        partial[3 * blockIdx.x] = aa;
        partial[3 * blockIdx.x + 1] = bb;
        partial[3 * blockIdx.x + 2] = ab;
    }
}

__device__ __forceinline__ void loss_total(float* loss, float* saved, const float* partial, u32 images, u32 chunks) {
    __shared__ double shared[THREADS / WARP];
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    double distance = 0.0;
    for (u32 image = warp; image < images; image += THREADS / WARP) {
        double aa = 0.0, bb = 0.0, ab = 0.0;
        for (u32 i = lane; i < chunks; i += WARP) {
            const float* p = partial + 3 * (size_t)(image * chunks + i);
            aa += p[0];
            bb += p[1];
            ab += p[2];
        }
        const double la = length(warp_sum(aa)), lb = length(warp_sum(bb));
        ab = warp_sum(ab);
        if (lane == 0) {
            saved[3 * image] = (float)la;
            saved[3 * image + 1] = (float)lb;
            saved[3 * image + 2] = (float)ab;
        }
        distance += 1.0 - ab / (la * lb);
    }
    // Every lane of a warp has its warp's sum; lane 0 speaks for it.
    const double sum = block_sum(lane == 0 ? distance : 0.0, shared);
    if (threadIdx.x == 0) *loss = (float)(sum / images);
}

template <class T>
__device__ __forceinline__ void loss_bwd(T* db, const float* dy, const T* a, const T* b, const float* saved, u32 first,
                                         u32 images, u32 len, u32 chunk, u32 chunks, u32 swapped) {
    const u32 image = blockIdx.x / chunks;
    const size_t at = (size_t)image * len;
    const u32 begin = blockIdx.x % chunks * chunk, end = min(begin + chunk, len);
    const bool vectors = len % LANES<T> == 0;
    a += at, b += at, db += at;
    // Images before the first one are far behind the last one, too.
    if (image - first >= images) {
        if (vectors) {
            Vec<T> zero;
#pragma unroll
            for (u32 j = 0; j < LANES<T>; ++j) zero.v[j] = from_f32<T>(0.0f);
            for (u32 i = begin + threadIdx.x * LANES<T>; i < end; i += THREADS * LANES<T>) store16(db + i, zero);
        } else {
            for (u32 i = begin + threadIdx.x; i < end; i += THREADS) db[i] = from_f32<T>(0.0f);
        }
        return;
    }
    const float scale = *dy / images;
    const float* s = saved + 3 * (image - first);
    const float la = s[swapped ? 1 : 0], lb = s[swapped ? 0 : 1];
    // In this order nothing leaves the range of f32, whatever the lengths.
    const float by_a = -scale / la / lb;
    const float by_b = s[2] / la / lb * scale / lb / lb;
    if (vectors) {
#pragma unroll 2
        for (u32 i = begin + threadIdx.x * LANES<T>; i < end; i += THREADS * LANES<T>) {
            const Vec<T> va = load16(a + i), vb = load16(b + i);
            Vec<T> d;
#pragma unroll
            for (u32 j = 0; j < LANES<T>; ++j) d.v[j] = from_f32<T>(to_f32(va.v[j]) * by_a + to_f32(vb.v[j]) * by_b);
            store16(db + i, d);
        }
    } else {
        for (u32 i = begin + threadIdx.x; i < end; i += THREADS) {
            db[i] = from_f32<T>(to_f32(a[i]) * by_a + to_f32(b[i]) * by_b);
        }
    }
}

// Channels of each layer, and where its positions end when they are numbered through all layers. A layer that is not there
// has no positions.
struct CosineLayers {
    u32 c[4];
    u32 end[4];
};

template <class T>
__device__ __forceinline__ void map(float* y0, float* y1, float* y2, float* y3, const T* a0, const T* b0, const T* a1,
                                    const T* b1, const T* a2, const T* b2, const T* a3, const T* b3, CosineLayers p) {
    u32 at = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
    if (at >= p.end[3]) return;
    float* y = y0;
    const T *a = a0, *b = b0;
    u32 c = p.c[0], first = 0;
    if (at >= p.end[0]) y = y1, a = a1, b = b1, c = p.c[1], first = p.end[0];
    if (at >= p.end[1]) y = y2, a = a2, b = b2, c = p.c[2], first = p.end[1];
    if (at >= p.end[2]) y = y3, a = a3, b = b3, c = p.c[3], first = p.end[2];
    at -= first;
    const u32 lane = threadIdx.x % WARP;
    const size_t position = (size_t)at * c;
    const Products sum = products(a + position, b + position, 0, c, c % LANES<T> == 0, lane, WARP);
    const float la = length(warp_sum(sum.aa)), lb = length(warp_sum(sum.bb)), ab = warp_sum(sum.ab);
    if (lane == 0) y[at] = 1.0f - ab / (la * lb);
}

extern "C" __global__ void __launch_bounds__(256) cosine_loss_partial_f32(float* partial, const float* a, const float* b, u32 first, u32 len, u32 chunk, u32 chunks) { loss_partial(partial, a, b, first, len, chunk, chunks); }
extern "C" __global__ void __launch_bounds__(256) cosine_loss_partial_bf16(float* partial, const bf16* a, const bf16* b, u32 first, u32 len, u32 chunk, u32 chunks) { loss_partial(partial, a, b, first, len, chunk, chunks); }
extern "C" __global__ void __launch_bounds__(256) cosine_loss_partial_f16(float* partial, const f16* a, const f16* b, u32 first, u32 len, u32 chunk, u32 chunks) { loss_partial(partial, a, b, first, len, chunk, chunks); }
extern "C" __global__ void __launch_bounds__(256) cosine_loss_total_f32(float* loss, float* saved, const float* partial, u32 images, u32 chunks) { loss_total(loss, saved, partial, images, chunks); }
extern "C" __global__ void __launch_bounds__(256) cosine_loss_bwd_f32(float* db, const float* dy, const float* a, const float* b, const float* saved, u32 first, u32 images, u32 len, u32 chunk, u32 chunks, u32 swapped) { loss_bwd(db, dy, a, b, saved, first, images, len, chunk, chunks, swapped); }
extern "C" __global__ void __launch_bounds__(256) cosine_loss_bwd_bf16(bf16* db, const float* dy, const bf16* a, const bf16* b, const float* saved, u32 first, u32 images, u32 len, u32 chunk, u32 chunks, u32 swapped) { loss_bwd(db, dy, a, b, saved, first, images, len, chunk, chunks, swapped); }
extern "C" __global__ void __launch_bounds__(256) cosine_loss_bwd_f16(f16* db, const float* dy, const f16* a, const f16* b, const float* saved, u32 first, u32 images, u32 len, u32 chunk, u32 chunks, u32 swapped) { loss_bwd(db, dy, a, b, saved, first, images, len, chunk, chunks, swapped); }
extern "C" __global__ void __launch_bounds__(256) cosine_map_f32(float* y0, float* y1, float* y2, float* y3, const float* a0, const float* b0, const float* a1, const float* b1, const float* a2, const float* b2, const float* a3, const float* b3, CosineLayers p) { map(y0, y1, y2, y3, a0, b0, a1, b1, a2, b2, a3, b3, p); }
extern "C" __global__ void __launch_bounds__(256) cosine_map_bf16(float* y0, float* y1, float* y2, float* y3, const bf16* a0, const bf16* b0, const bf16* a1, const bf16* b1, const bf16* a2, const bf16* b2, const bf16* a3, const bf16* b3, CosineLayers p) { map(y0, y1, y2, y3, a0, b0, a1, b1, a2, b2, a3, b3, p); }
extern "C" __global__ void __launch_bounds__(256) cosine_map_f16(float* y0, float* y1, float* y2, float* y3, const f16* a0, const f16* b0, const f16* a1, const f16* b1, const f16* a2, const f16* b2, const f16* a3, const f16* b3, CosineLayers p) { map(y0, y1, y2, y3, a0, b0, a1, b1, a2, b2, a3, b3, p); }
