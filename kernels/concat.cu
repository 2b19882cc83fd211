// Concatenation of up to 8 tensors, over channels or over the batch, and its gradient: y = rows of all inputs side by
// side, dx = one input's share of every row of dy. Over the batch there is one row, the whole tensor. Copies only.
//
// Shapes: x_i (rows, part_i), y and dy (rows, row), dx (rows, part).
//
// Threads: one a pack of y or dx (16 bytes where all parts and offsets are multiples of that, else one value), so
// writes are contiguous, and reads are within a part. Grid: (packs / 256, rounded up). All inputs in one launch: eight
// pointers among the arguments and a chain of selects cost less than eight launches of a few microseconds each.
//
// Shared memory: none. Registers a thread (ptxas, sm_90): concat_fwd 20, concat_bwd 14.
//
// Bytes and flops: three maps of 5 x 16x16 x 256 in f32: 3.9 MB in, 3.9 MB out, no flops; 2.3 us at 3.35 TB/s.
//
// Fuses nothing. Numbers: one pack a thread, chosen without a GPU.
#include "common.cuh"

// Input i fills [ends[i - 1], ends[i]) of every row; inputs that are not there end where the row does.
struct ConcatParts {
    u32 rows, row;
    u32 ends[8];
};

template <class T, u32 W>
__device__ __forceinline__ void fwd_packs(T* __restrict__ y, const T* const (&x)[8], const ConcatParts& p) {
    const u32 packs = p.row / W, i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= p.rows * packs) return;
    const u32 row = i / packs, column = i % packs * W;
    const T* from = x[0];
    u32 start = 0, end = p.ends[0];
#pragma unroll
    for (u32 k = 1; k < 8; ++k) {
        if (column >= p.ends[k - 1]) from = x[k], start = p.ends[k - 1], end = p.ends[k];
    }
    store_pack(y + i * W, load_pack<W>(from + row * (end - start) + (column - start)));
}

template <class T> __device__ __forceinline__ void fwd(T* y, const T* const (&x)[8], const ConcatParts& p) {
    u32 whole = p.row;
#pragma unroll
    for (u32 k = 0; k < 8; ++k) whole |= p.ends[k];
    if (whole % LANES<T> == 0) {
        fwd_packs<T, LANES<T>>(y, x, p);
    } else {
        fwd_packs<T, 1>(y, x, p);
    }
}

template <class T, u32 W>
__device__ __forceinline__ void bwd_packs(T* __restrict__ dx, const T* __restrict__ dy, u32 rows, u32 row, u32 offset,
                                          u32 part) {
    const u32 packs = part / W, i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < rows * packs) store_pack(dx + i * W, load_pack<W>(dy + i / packs * row + offset + i % packs * W));
}

template <class T> __device__ __forceinline__ void bwd(T* dx, const T* dy, u32 rows, u32 row, u32 offset, u32 part) {
    if ((row | offset | part) % LANES<T> == 0) {
        bwd_packs<T, LANES<T>>(dx, dy, rows, row, offset, part);
    } else {
        bwd_packs<T, 1>(dx, dy, rows, row, offset, part);
    }
}

extern "C" __global__ void __launch_bounds__(256)
    concat_fwd_f32(float* y, const float* x0, const float* x1, const float* x2, const float* x3, const float* x4,
                   const float* x5, const float* x6, const float* x7, ConcatParts p) {
    const float* const x[8] = {x0, x1, x2, x3, x4, x5, x6, x7};
    fwd(y, x, p);
}
extern "C" __global__ void __launch_bounds__(256)
    concat_fwd_bf16(bf16* y, const bf16* x0, const bf16* x1, const bf16* x2, const bf16* x3, const bf16* x4,
                    const bf16* x5, const bf16* x6, const bf16* x7, ConcatParts p) {
    const bf16* const x[8] = {x0, x1, x2, x3, x4, x5, x6, x7};
    fwd(y, x, p);
}
extern "C" __global__ void __launch_bounds__(256)
    concat_fwd_f16(f16* y, const f16* x0, const f16* x1, const f16* x2, const f16* x3, const f16* x4, const f16* x5,
                   const f16* x6, const f16* x7, ConcatParts p) {
    const f16* const x[8] = {x0, x1, x2, x3, x4, x5, x6, x7};
    fwd(y, x, p);
}
extern "C" __global__ void __launch_bounds__(256)
    concat_bwd_f32(float* dx, const float* dy, u32 rows, u32 row, u32 offset, u32 part) {
    bwd(dx, dy, rows, row, offset, part);
}
extern "C" __global__ void __launch_bounds__(256)
    concat_bwd_bf16(bf16* dx, const bf16* dy, u32 rows, u32 row, u32 offset, u32 part) {
    bwd(dx, dy, rows, row, offset, part);
}
extern "C" __global__ void __launch_bounds__(256)
    concat_bwd_f16(f16* dx, const f16* dy, u32 rows, u32 row, u32 offset, u32 part) {
    bwd(dx, dy, rows, row, offset, part);
}
