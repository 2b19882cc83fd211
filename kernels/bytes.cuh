// Real numbers kept in bytes: as src/engine/toolkit/cpu/int8/store.rs has them, operation by operation, so that the same bytes
// come out. No product is fused with a sum.
#pragma once
#include "common.cuh"

// As in src/engine/ops/quantize/cuda.rs. A step is worth `scale`, in which there are `steps` to 1; `zero` is the byte of 0.
struct ByteScale {
    float scale, steps;
    i32 zero;
};

// The nearest byte, even where two are; NaN becomes the least.
__device__ __forceinline__ u8 to_byte(float x, const ByteScale& q) {
    const float least = static_cast<float>(-q.zero), most = static_cast<float>(255 - q.zero);
    float steps = __fmul_rn(x, q.steps);
    steps = steps > least ? steps : least;
    steps = steps < most ? steps : most;
    return static_cast<u8>(__float2int_rn(steps) + q.zero);
}

__device__ __forceinline__ float of_byte(u8 x, const ByteScale& q) {
    return __fmul_rn(static_cast<float>(static_cast<i32>(x) - q.zero), q.scale);
}

// As in src/engine/ops/conv2d_int8/cuda.rs. What all channels of a result are made with.
struct Int8Finish {
    float factor, slope;
    ByteScale residual, y;
};

// Where a result goes, and what is added to it: of `y` and `bytes` one is null, of the residuals one or both are.
struct Finished {
    float* y;
    u8* bytes;
    const float* scale;
    const float* bias;
    const float* residual;
    const u8* residual_bytes;
    Int8Finish by;
    u32 columns;

    // What `count` (four at most) channels from `column` on are made with.
    __device__ __forceinline__ void load(u32 column, float (&scales)[4], float (&biases)[4], u32 count, bool vectors) const {
#pragma unroll
        for (u32 e = 0; e < 4; ++e) scales[e] = biases[e] = 0.0f;
        if (vectors) {
            load_floats(scales, scale + column);
            if (bias) load_floats(biases, bias + column);
        } else {
#pragma unroll
            for (u32 e = 0; e < 4; ++e) {
                if (e >= count) continue;
                scales[e] = scale[column + e];
                if (bias) biases[e] = bias[column + e];
            }
        }
#pragma unroll
        for (u32 e = 0; e < 4; ++e) scales[e] = __fmul_rn(scales[e], by.factor);
    }

    // Makes `count` (four at most) neighbouring sums of a row what is kept of them; `vectors`: there are four, and they are aligned.
    __device__ __forceinline__ void store(u32 at, const int4& four, const float (&scales)[4], const float (&biases)[4],
                                          u32 count, bool vectors) const {
        const i32 sum[4] = {four.x, four.y, four.z, four.w};
        float v[4];
#pragma unroll
        for (u32 e = 0; e < 4; ++e) v[e] = __fadd_rn(__fmul_rn(__int2float_rn(sum[e]), scales[e]), biases[e]);
        float added[4] = {0.0f, 0.0f, 0.0f, 0.0f};
        if (vectors) {
            if (residual) load_floats(added, residual + at);
            if (residual_bytes) {
                const uchar4 r = *reinterpret_cast<const uchar4*>(residual_bytes + at);
                added[0] = of_byte(r.x, by.residual), added[1] = of_byte(r.y, by.residual);
                added[2] = of_byte(r.z, by.residual), added[3] = of_byte(r.w, by.residual);
            }
        } else {
#pragma unroll
            for (u32 e = 0; e < 4; ++e) {
                if (residual && e < count) added[e] = residual[at + e];
                if (residual_bytes && e < count) added[e] = of_byte(residual_bytes[at + e], by.residual);
            }
        }
        // `activate` has +0 where the CPU has -0, or NaN of an infinite one.
#pragma unroll
        for (u32 e = 0; e < 4; ++e) {
            v[e] = __fadd_rn(v[e], added[e]);
            v[e] = v[e] < 0.0f ? __fmul_rn(v[e], by.slope) : v[e];
        }
        if (bytes) {
            u8 b[4];
#pragma unroll
            for (u32 e = 0; e < 4; ++e) b[e] = to_byte(v[e], by.y);
            if (vectors) {
                *reinterpret_cast<uchar4*>(bytes + at) = make_uchar4(b[0], b[1], b[2], b[3]);
            } else {
#pragma unroll
                for (u32 e = 0; e < 4; ++e)
                    if (e < count) bytes[at + e] = b[e];
            }
        } else if (vectors) {
            store_floats(y + at, v);
        } else {
#pragma unroll
            for (u32 e = 0; e < 4; ++e)
                if (e < count) y[at + e] = v[e];
        }
    }
};
