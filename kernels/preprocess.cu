// Pixels to network input: u8 (n, h, w, 3) to y = (resized / 255 - mean) / std, (n, out_h, out_w, 3).
//
// The resize is Pillow's bilinear filter bit for bit (`src/libImaging/Resample.c`): a triangle that widens when shrinking,
// one axis after the other, fixed-point weights of 22 fractional bits, 8-bit pixels in between. Which axis is first shows in
// the result, and the host decides; an axis that keeps its length is skipped. So a picture takes 1 to 3 launches:
//
// weights:   the table of one axis, one thread an output position: its first input, their number, their weights. In f64 with
//            each operation rounded by itself, as the host's C and Rust do: a fused multiply-add here would change bits. The
//            table lies in scratch memory with positions innermost: [first | count | weight 0 | weight 1 ...][position].
// columns:   along the rows of a picture: a thread computes one output pixel from `count` neighbouring ones.
// rows:      along the columns: a thread computes 16 bytes of output (4 bytes when it is u8 again) from as many
//            neighbouring bytes of each input row, or one if w * 3 has other factors. Both write u8 or, last, y.
// normalize: nothing to resize: 16 bytes of output per thread.
//
// Fuses: the second axis, the division, mean, standard deviation and the rounding to the network's type.
// Shared memory: none. Registers on sm_90: REGISTERS
// One launch moves, with e = bytes of an element: columns and rows their input once and 3*e bytes per output pixel (L1 serves
//   what neighbours share), 6 * count integer operations per output pixel; normalize (1 + e) * 3*n*h*w bytes.
// Block sizes were chosen without a GPU at hand.
#include "common.cuh"

constexpr i32 PRECISION_BITS = 32 - 8 - 2;
constexpr u32 THREADS = 256;

// (v / 255 - mean) / std as v * scale + offset, per channel.
struct PixelScale {
    float scale[3];
    float offset[3];
};

// One axis of a picture: `outer` stretches of `from` (later `to`) positions of `inner` bytes each.
struct ResizeAxis {
    u32 outer;
    u32 from;
    u32 to;
    u32 inner;
};

// Weight of the i-th input of an output, before it is divided by their sum.
__device__ __forceinline__ double triangle(u32 i, u32 first, double center, double inverse) {
    const double distance = __dmul_rn(__dadd_rn(__dsub_rn((double)(i + first), center), 0.5), inverse);
    return fmax(__dsub_rn(1.0, fabs(distance)), 0.0);
}

__device__ __forceinline__ void weights(i32* table, u32 from, u32 to) {
    const u32 x = blockIdx.x * blockDim.x + threadIdx.x;
    if (x >= to) return;
    const double scale = __ddiv_rn((double)from, (double)to), support = fmax(scale, 1.0);
    const double center = __dmul_rn((double)x + 0.5, scale), inverse = __ddiv_rn(1.0, support);
    const u32 first = (u32)fmax(__dadd_rn(__dsub_rn(center, support), 0.5), 0.0);
    const u32 count = min((u32)__dadd_rn(__dadd_rn(center, support), 0.5), from) - first;
    double sum = 0.0;
    for (u32 i = 0; i < count; ++i) sum = __dadd_rn(sum, triangle(i, first, center, inverse));
    table[x] = first;
    table[to + x] = count;
    for (u32 i = 0; i < count; ++i) {
        double weight = triangle(i, first, center, inverse);
        if (sum != 0.0) weight = __ddiv_rn(weight, sum);
        table[(size_t)(2 + i) * to + x] = (i32)__dadd_rn(0.5, __dmul_rn(weight, (double)(1 << PRECISION_BITS)));
    }
}

__device__ __forceinline__ u32 clip8(i32 sum) { return min(max(sum >> PRECISION_BITS, 0), 255); }

// What a sum starts from, so that the shift back rounds.
constexpr i32 HALF = 1 << (PRECISION_BITS - 1);

// Where results go: u8 as they are, other types normalised.
template <class T> struct Pixel {
    static __device__ __forceinline__ T of(u32 value, u32 channel, const PixelScale& p) {
        const float scale = channel == 0 ? p.scale[0] : channel == 1 ? p.scale[1] : p.scale[2];
        const float offset = channel == 0 ? p.offset[0] : channel == 1 ? p.offset[1] : p.offset[2];
        return from_f32<T>(fmaf((float)value, scale, offset));
    }
};
template <> struct Pixel<u8> {
    static __device__ __forceinline__ u8 of(u32 value, u32, const PixelScale&) { return value; }
};

// Bytes that a thread takes at once: as many as results fill 16 bytes, 4 when they are u8.
template <class T> constexpr u32 GROUP = LANES<T>;
template <> constexpr u32 GROUP<u8> = 4;

template <class T> struct alignas(sizeof(T) * GROUP<T>) Group {
    T v[GROUP<T>];
};
template <class T> struct alignas(GROUP<T>) Bytes {
    u8 v[GROUP<T>];
};

// A thread per output pixel; inner = 3.
template <class T>
__device__ __forceinline__ void columns(T* y, const u8* x, const i32* table, ResizeAxis a, PixelScale p) {
    const u32 pixel = blockIdx.x * THREADS + threadIdx.x;
    if (pixel >= a.outer * a.to) return;
    const u32 line = pixel / a.to, o = pixel % a.to, first = table[o], count = table[a.to + o];
    const u8* from = x + ((size_t)line * a.from + first) * 3;
    const i32* weight = table + 2 * (size_t)a.to + o;
    i32 sum[3] = {HALF, HALF, HALF};
#pragma unroll 2
    for (u32 i = 0; i < count; ++i) {
        const i32 w = weight[(size_t)i * a.to];
#pragma unroll
        for (u32 c = 0; c < 3; ++c) sum[c] += from[3 * i + c] * w;
    }
#pragma unroll
    for (u32 c = 0; c < 3; ++c) y[(size_t)pixel * 3 + c] = Pixel<T>::of(clip8(sum[c]), c, p);
}

template <class T>
__device__ __forceinline__ void rows(T* y, const u8* x, const i32* table, ResizeAxis a, PixelScale p) {
    const bool grouped = a.inner % GROUP<T> == 0;
    const u32 each = grouped ? GROUP<T> : 1, width = a.inner / each, at = blockIdx.x * THREADS + threadIdx.x;
    if (at >= a.outer * a.to * width) return;
    const u32 line = at / width, column = at % width * each, o = line % a.to, n = line / a.to;
    const u32 first = table[o], count = table[a.to + o];
    const u8* from = x + ((size_t)n * a.from + first) * a.inner + column;
    const i32* weight = table + 2 * (size_t)a.to + o;
    const size_t to = (size_t)line * a.inner + column;
    if (grouped) {
        i32 sum[GROUP<T>];
#pragma unroll
        for (u32 j = 0; j < GROUP<T>; ++j) sum[j] = HALF;
        for (u32 i = 0; i < count; ++i) {
            const i32 w = weight[(size_t)i * a.to];
            const Bytes<T> row = *reinterpret_cast<const Bytes<T>*>(from + (size_t)i * a.inner);
#pragma unroll
            for (u32 j = 0; j < GROUP<T>; ++j) sum[j] += row.v[j] * w;
        }
        Group<T> result;
#pragma unroll
        for (u32 j = 0; j < GROUP<T>; ++j) result.v[j] = Pixel<T>::of(clip8(sum[j]), (column + j) % 3, p);
        *reinterpret_cast<Group<T>*>(y + to) = result;
    } else {
        i32 sum = HALF;
        for (u32 i = 0; i < count; ++i) sum += from[(size_t)i * a.inner] * weight[(size_t)i * a.to];
        y[to] = Pixel<T>::of(clip8(sum), column % 3, p);
    }
}

template <class T> __device__ __forceinline__ void normalize(T* y, const u8* x, u32 len, PixelScale p) {
    const u32 thread = blockIdx.x * THREADS + threadIdx.x, groups = len / GROUP<T>;
    if (thread < groups) {
        const u32 at = thread * GROUP<T>;
        const Bytes<T> from = *reinterpret_cast<const Bytes<T>*>(x + at);
        Group<T> result;
#pragma unroll
        for (u32 j = 0; j < GROUP<T>; ++j) result.v[j] = Pixel<T>::of(from.v[j], (at + j) % 3, p);
        *reinterpret_cast<Group<T>*>(y + at) = result;
    } else {
        const u32 at = groups * GROUP<T> + (thread - groups);
        if (at < len) y[at] = Pixel<T>::of(x[at], at % 3, p);
    }
}

extern "C" __global__ void __launch_bounds__(256) preprocess_weights_i32(i32* table, u32 from, u32 to) { weights(table, from, to); }
extern "C" __global__ void __launch_bounds__(256) preprocess_columns_u8(u8* y, const u8* x, const i32* table, ResizeAxis a) { columns(y, x, table, a, PixelScale()); }
extern "C" __global__ void __launch_bounds__(256) preprocess_columns_f32(float* y, const u8* x, const i32* table, ResizeAxis a, PixelScale p) { columns(y, x, table, a, p); }
extern "C" __global__ void __launch_bounds__(256) preprocess_columns_bf16(bf16* y, const u8* x, const i32* table, ResizeAxis a, PixelScale p) { columns(y, x, table, a, p); }
extern "C" __global__ void __launch_bounds__(256) preprocess_columns_f16(f16* y, const u8* x, const i32* table, ResizeAxis a, PixelScale p) { columns(y, x, table, a, p); }
extern "C" __global__ void __launch_bounds__(256) preprocess_rows_u8(u8* y, const u8* x, const i32* table, ResizeAxis a) { rows(y, x, table, a, PixelScale()); }
extern "C" __global__ void __launch_bounds__(256) preprocess_rows_f32(float* y, const u8* x, const i32* table, ResizeAxis a, PixelScale p) { rows(y, x, table, a, p); }
extern "C" __global__ void __launch_bounds__(256) preprocess_rows_bf16(bf16* y, const u8* x, const i32* table, ResizeAxis a, PixelScale p) { rows(y, x, table, a, p); }
extern "C" __global__ void __launch_bounds__(256) preprocess_rows_f16(f16* y, const u8* x, const i32* table, ResizeAxis a, PixelScale p) { rows(y, x, table, a, p); }
extern "C" __global__ void __launch_bounds__(256) preprocess_normalize_f32(float* y, const u8* x, u32 len, PixelScale p) { normalize(y, x, len, p); }
extern "C" __global__ void __launch_bounds__(256) preprocess_normalize_bf16(bf16* y, const u8* x, u32 len, PixelScale p) { normalize(y, x, len, p); }
extern "C" __global__ void __launch_bounds__(256) preprocess_normalize_f16(f16* y, const u8* x, u32 len, PixelScale p) { normalize(y, x, len, p); }
