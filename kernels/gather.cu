// Rows of a table: y[i, :] = table[at[i], :], `at` as f32 numbers; what lies behind the last row picks that.
//
// Shapes: table (rows, c), at (count), y (count, c).
//
// Threads: one a pack of neighbouring values of y (16 bytes where c is a multiple of that, else one value), packs of a row
// side by side. Grid: (packs / 256, rounded up).
//
// Shared memory: none. Registers: README.md. Moves 2 * count * c values, no flops. Fuses nothing.
// Numbers: one pack a thread, chosen without a GPU.
#include "common.cuh"

template <class T, u32 W>
__device__ __forceinline__ void gather_packs(T* __restrict__ y, const T* __restrict__ table, const float* at, u32 count,
                                             u32 rows, u32 c) {
    const u32 packs = c / W, i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count * packs) return;
    const u32 place = i / packs, channel = i % packs * W;
    const u32 row = min(static_cast<u32>(at[place]), rows - 1);
    store_pack(y + static_cast<size_t>(place) * c + channel,
               load_pack<W>(table + static_cast<size_t>(row) * c + channel));
}

template <class T>
__device__ __forceinline__ void gather(T* y, const T* table, const float* at, u32 count, u32 rows, u32 c) {
    if (c % LANES<T> == 0) {
        gather_packs<T, LANES<T>>(y, table, at, count, rows, c);
    } else {
        gather_packs<T, 1>(y, table, at, count, rows, c);
    }
}

extern "C" __global__ void __launch_bounds__(256)
    gather_fwd_f32(float* y, const float* table, const float* at, u32 count, u32 rows, u32 c) {
    gather(y, table, at, count, rows, c);
}
extern "C" __global__ void __launch_bounds__(256)
    gather_fwd_bf16(bf16* y, const bf16* table, const float* at, u32 count, u32 rows, u32 c) {
    gather(y, table, at, count, rows, c);
}
extern "C" __global__ void __launch_bounds__(256)
    gather_fwd_f16(f16* y, const f16* table, const float* at, u32 count, u32 rows, u32 c) {
    gather(y, table, at, count, rows, c);
}
