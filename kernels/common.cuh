// What all kernels share: number types, conversions, 16-byte vectors, the activation, reductions in a fixed order.
// Arithmetic is f32 whatever the storage type.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

typedef unsigned int u32;
typedef int i32;
typedef unsigned long long u64;
typedef unsigned char u8;
typedef signed char i8;
typedef short i16;
typedef __nv_bfloat16 bf16;
typedef __half f16;

constexpr u32 WARP = 32;
constexpr u32 FULL = 0xffffffffu;

__device__ __forceinline__ float to_f32(float x) { return x; }
__device__ __forceinline__ float to_f32(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float to_f32(f16 x) { return __half2float(x); }
__device__ __forceinline__ float to_f32(u8 x) { return x; }

template <class T> __device__ __forceinline__ T from_f32(float x);
template <> __device__ __forceinline__ float from_f32<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 from_f32<bf16>(float x) { return __float2bfloat16_rn(x); }
template <> __device__ __forceinline__ f16 from_f32<f16>(float x) { return __float2half_rn(x); }
// Of whole numbers from 0 to 255.
template <> __device__ __forceinline__ u8 from_f32<u8>(float x) { return static_cast<u8>(__float2uint_rz(x)); }

template <class T> __device__ __forceinline__ T from_bits(unsigned short bits);
template <> __device__ __forceinline__ bf16 from_bits<bf16>(unsigned short bits) { return __ushort_as_bfloat16(bits); }
template <> __device__ __forceinline__ f16 from_bits<f16>(unsigned short bits) { return __ushort_as_half(bits); }
__device__ __forceinline__ unsigned short bits_of(bf16 x) { return __bfloat16_as_ushort(x); }
__device__ __forceinline__ unsigned short bits_of(f16 x) { return __half_as_ushort(x); }

// Elements of T in 16 bytes.
template <class T> constexpr u32 LANES = 16 / sizeof(T);

// 16 bytes of T, moved by one instruction. `p` must be 16-byte aligned.
template <class T> struct alignas(16) Vec {
    T v[LANES<T>];
};
template <class T> __device__ __forceinline__ Vec<T> load16(const T* p) { return *reinterpret_cast<const Vec<T>*>(p); }
template <class T> __device__ __forceinline__ void store16(T* p, const Vec<T>& v) { *reinterpret_cast<Vec<T>*>(p) = v; }

// W neighbouring values, moved by one instruction: 16 bytes of words (so that 16-bit numbers stay packed in registers),
// or one value. Pointers to more than one must be aligned to all of them.
template <class T, u32 W> struct Pack {
    static_assert(W == LANES<T>, "a pack is one value or 16 bytes");
    uint4 words;
};
template <class T> struct Pack<T, 1> {
    T value;
};
template <u32 W, class T> __device__ __forceinline__ Pack<T, W> load_pack(const T* p) {
    return *reinterpret_cast<const Pack<T, W>*>(p);
}
template <u32 W, class T> __device__ __forceinline__ void store_pack(T* p, const Pack<T, W>& x) {
    *reinterpret_cast<Pack<T, W>*>(p) = x;
}

__device__ __forceinline__ void unpack(float (&f)[1], const Pack<float, 1>& x) { f[0] = x.value; }
__device__ __forceinline__ void unpack(float (&f)[1], const Pack<bf16, 1>& x) { f[0] = to_f32(x.value); }
__device__ __forceinline__ void unpack(float (&f)[1], const Pack<f16, 1>& x) { f[0] = to_f32(x.value); }
__device__ __forceinline__ void unpack(float (&f)[4], const Pack<float, 4>& x) {
    f[0] = __uint_as_float(x.words.x), f[1] = __uint_as_float(x.words.y);
    f[2] = __uint_as_float(x.words.z), f[3] = __uint_as_float(x.words.w);
}
template <class T> __device__ __forceinline__ void unpack(float (&f)[8], const Pack<T, 8>& x) {
    const u32 words[4] = {x.words.x, x.words.y, x.words.z, x.words.w};
#pragma unroll
    for (u32 i = 0; i < 8; ++i) {
        const unsigned short bits = static_cast<unsigned short>(words[i / 2] >> (16 * (i % 2)));
        f[i] = to_f32(from_bits<T>(bits));
    }
}

__device__ __forceinline__ void unpack(float (&f)[1], const Pack<u8, 1>& x) { f[0] = to_f32(x.value); }
__device__ __forceinline__ void unpack(float (&f)[16], const Pack<u8, 16>& x) {
    const u32 words[4] = {x.words.x, x.words.y, x.words.z, x.words.w};
#pragma unroll
    for (u32 i = 0; i < 16; ++i) f[i] = to_f32(static_cast<u8>(words[i / 4] >> (8 * (i % 4))));
}

template <class T> __device__ __forceinline__ Pack<T, 1> pack(const float (&f)[1]) { return {from_f32<T>(f[0])}; }
template <class T> __device__ __forceinline__ Pack<T, 4> pack(const float (&f)[4]) {
    return {make_uint4(__float_as_uint(f[0]), __float_as_uint(f[1]), __float_as_uint(f[2]), __float_as_uint(f[3]))};
}
template <class T> __device__ __forceinline__ Pack<T, 8> pack(const float (&f)[8]) {
    u32 words[4];
#pragma unroll
    for (u32 i = 0; i < 4; ++i) {
        words[i] = bits_of(from_f32<T>(f[2 * i])) | static_cast<u32>(bits_of(from_f32<T>(f[2 * i + 1]))) << 16;
    }
    return {make_uint4(words[0], words[1], words[2], words[3])};
}

template <class T> __device__ __forceinline__ Pack<u8, 16> pack(const float (&f)[16]) {
    u32 words[4] = {};
#pragma unroll
    for (u32 i = 0; i < 16; ++i) words[i / 4] |= static_cast<u32>(from_f32<T>(f[i])) << (8 * (i % 4));
    return {make_uint4(words[0], words[1], words[2], words[3])};
}

// N numbers that lie side by side, by 16 bytes where N is a multiple of four; `p` must then be aligned to 16 bytes. Number by
// number the threads of a warp would each touch sectors of their own, N times in a row.
template <u32 N> __device__ __forceinline__ void load_floats(float (&f)[N], const float* p) {
    if constexpr (N % 4 == 0) {
#pragma unroll
        for (u32 i = 0; i < N; i += 4) {
            const float4 v = *reinterpret_cast<const float4*>(p + i);
            f[i] = v.x, f[i + 1] = v.y, f[i + 2] = v.z, f[i + 3] = v.w;
        }
    } else {
#pragma unroll
        for (u32 i = 0; i < N; ++i) f[i] = p[i];
    }
}
template <u32 N> __device__ __forceinline__ void store_floats(float* p, const float (&f)[N]) {
    if constexpr (N % 4 == 0) {
#pragma unroll
        for (u32 i = 0; i < N; i += 4)
            *reinterpret_cast<float4*>(p + i) = make_float4(f[i], f[i + 1], f[i + 2], f[i + 3]);
    } else {
#pragma unroll
        for (u32 i = 0; i < N; ++i) p[i] = f[i];
    }
}

__device__ __forceinline__ u32 ceil_div(u32 a, u32 b) { return (a + b - 1) / b; }

// Slope below zero: 1 = none, 0 = ReLU, else LeakyReLU. NaN stays NaN.
__device__ __forceinline__ float activate(float x, float slope) {
    return x < 0.0f ? (slope == 0.0f ? 0.0f : x * slope) : x;
}

// Its derivative, from the result; at 0 that of the negative side, as in PyTorch.
__device__ __forceinline__ float activation_slope(float y, float slope) { return y > 0.0f ? 1.0f : slope; }

// Sums each of a thread's values over every `stride`-th of `span` neighbouring threads of a warp (powers of two), the same bits
// in each of them.
template <class F, u32 W> __device__ __forceinline__ void warp_sums(F (&v)[W], u32 span, u32 stride) {
#pragma unroll
    for (u32 offset = span / 2; offset >= stride; offset /= 2) {
#pragma unroll
        for (u32 i = 0; i < W; ++i) v[i] += __shfl_xor_sync(FULL, v[i], offset);
    }
}

// Sum over a warp, or `span` neighbouring threads of it. In f32, or in f64 for what is left of a long sum.
template <class F> __device__ __forceinline__ F warp_sum(F x, u32 span = WARP) {
    F v[1] = {x};
    warp_sums(v, span, 1);
    return v[0];
}

// Sum over a block of whole warps, the same bits in every thread. `shared` holds one number per warp; it may be used
// again right after.
template <class F> __device__ __forceinline__ F block_sum(F x, F* shared) {
    const u32 warps = blockDim.x / WARP;
    x = warp_sum(x);
    if (threadIdx.x % WARP == 0) shared[threadIdx.x / WARP] = x;
    __syncthreads();
    F total = 0;
    for (u32 i = 0; i < warps; ++i) total += shared[i];
    __syncthreads();
    return total;
}

// A thread's part of a long sum: runs in f32 of a length at which rounding stays small, their sum in f64. Most cards
// add f64 at 1/64 of the speed of f32.
struct LongSum {
    float run = 0.0f;
    double total = 0.0;
    u32 length = 0;

    __device__ __forceinline__ void add(float x) {
        run += x;
        if (++length == 64) {
            total += run;
            run = 0.0f;
            length = 0;
        }
    }
    __device__ __forceinline__ double result() const { return total + run; }
};
