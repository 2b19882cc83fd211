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
