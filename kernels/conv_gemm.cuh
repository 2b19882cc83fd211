// The matrix product behind every convolution: c[rows, columns] = sum over depth of a * b, both operands brought slice by
// slice into shared memory by loaders (conv_load.cuh), the result finished and stored row by row.
//
// A block computes one tile of c. Slices are 64 bytes deep (16 f32 or 32 16-bit numbers) and travel through a ring of
// STAGES buffers filled by cp.async, so that STAGES - 1 of them are under way while one is multiplied.
#pragma once
#include "mma.cuh"

constexpr u32 SLICE_BYTES = 64;
// Numbers in the depth of a slice.
template <class T> constexpr u32 SLICE = SLICE_BYTES / sizeof(T);
// Depth of one mma.sync, two of which make a slice.
constexpr u32 STEP_BYTES = 32;

template <u32 ROWS_, u32 COLUMNS_, u32 WARPS_M_, u32 WARPS_N_, u32 STAGES_> struct Tile {
    static constexpr u32 ROWS = ROWS_, COLUMNS = COLUMNS_, STAGES = STAGES_;
    static constexpr u32 WARPS_M = WARPS_M_, WARPS_N = WARPS_N_, THREADS = WARP * WARPS_M * WARPS_N;
};
using Tall = Tile<128, 64, 2, 2, 3>;
using Wide = Tile<64, 128, 2, 2, 3>;
using Small = Tile<32, 32, 1, 2, 4>;

// An operand's slice as [row][depth]: 64-byte rows whose four 16-byte chunks are permuted so that eight rows at the same
// depth (what ldmatrix and a quarter warp read) lie in different banks.
template <class T, u32 ROWS> struct DepthInner {
    static constexpr bool INNER = true;
    static constexpr u32 BYTES = ROWS * SLICE_BYTES;
    // Rows differ by multiples of 8 where one thread's chunks are concerned: the permutation is a constant of the thread.
    static __device__ __forceinline__ u32 at(u32 row, u32 chunk) {
        return row * SLICE_BYTES + ((chunk ^ (row >> 1 & 3)) * 16);
    }
};

// An operand's slice as [depth][row], padded: ldmatrix.trans reads 8 depths 16 bytes wide (stride 16 mod 128 bytes); tf32
// fragments are 4 depths 8 floats wide (stride 32 mod 128 bytes).
template <class T, u32 ROWS> struct DepthOuter {
    static constexpr bool INNER = false;
    static constexpr u32 STRIDE = ROWS * sizeof(T) + (sizeof(T) == 4 ? 32 : 16);
    static constexpr u32 BYTES = SLICE<T> * STRIDE;
};

// Products of one thread with FFMA: SIDE x SIDE results.
template <class P, class Tile, class A, class B> struct Fma {
    static constexpr u32 SIDE = Tile::ROWS * Tile::COLUMNS / Tile::THREADS == 64 ? 8 : 4;
    static constexpr u32 ACROSS = Tile::COLUMNS / SIDE, DOWN = Tile::ROWS / SIDE;
    static_assert(ACROSS * DOWN == Tile::THREADS && SIDE * SIDE * Tile::THREADS == Tile::ROWS * Tile::COLUMNS);
    float sum[SIDE][SIDE];

    __device__ __forceinline__ Fma() {
#pragma unroll
        for (u32 i = 0; i < SIDE; ++i)
#pragma unroll
            for (u32 j = 0; j < SIDE; ++j) sum[i][j] = 0.0f;
    }

    // The operand row of this thread's i-th row, for thread t of `threads` along this side: with [row][depth] every
    // `threads`-th, with [depth][row] groups of four.
    template <class Layout> static __device__ __forceinline__ u32 row(u32 t, u32 threads, u32 i) {
        return Layout::INNER ? t + i * threads : (i / 4 * threads + t) * 4 + i % 4;
    }

    // Four depths of this thread's rows.
    template <class Layout>
    static __device__ __forceinline__ void load(float (&f)[4][SIDE], const u8* from, u32 t, u32 threads, u32 chunk) {
        if constexpr (Layout::INNER) {
#pragma unroll
            for (u32 i = 0; i < SIDE; ++i) {
                const float4 v = *reinterpret_cast<const float4*>(from + Layout::at(t, chunk) + i * threads * SLICE_BYTES);
                f[0][i] = v.x, f[1][i] = v.y, f[2][i] = v.z, f[3][i] = v.w;
            }
        } else {
#pragma unroll
            for (u32 d = 0; d < 4; ++d)
#pragma unroll
                for (u32 i = 0; i < SIDE; i += 4) {
                    const u32 at = (chunk * 4 + d) * Layout::STRIDE + row<Layout>(t, threads, i) * 4;
                    const float4 v = *reinterpret_cast<const float4*>(from + at);
                    f[d][i] = v.x, f[d][i + 1] = v.y, f[d][i + 2] = v.z, f[d][i + 3] = v.w;
                }
        }
    }

    __device__ __forceinline__ void multiply(const u8* a, const u8* b) {
        const u32 x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS;
#pragma unroll
        for (u32 chunk = 0; chunk < 4; ++chunk) {
            float fa[4][SIDE], fb[4][SIDE];
            load<A>(fa, a, y, DOWN, chunk);
            load<B>(fb, b, x, ACROSS, chunk);
#pragma unroll
            for (u32 d = 0; d < 4; ++d)
#pragma unroll
                for (u32 i = 0; i < SIDE; ++i)
#pragma unroll
                    for (u32 j = 0; j < SIDE; ++j) sum[i][j] = fmaf(fa[d][i], fb[d][j], sum[i][j]);
        }
    }

    // Puts the sums into `to`, [row][stride].
    __device__ __forceinline__ void put(float* to, u32 stride) const {
        const u32 x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS;
#pragma unroll
        for (u32 i = 0; i < SIDE; ++i)
#pragma unroll
            for (u32 j = 0; j < SIDE; ++j) to[row<A>(y, DOWN, i) * stride + row<B>(x, ACROSS, j)] = sum[i][j];
    }
};

// Products of one warp with mma.sync: (ROWS / 16) x (COLUMNS / 8) results of 16x8.
template <class P, class Tile, class A, class B> struct TensorCores {
    using T = typename P::T;
    static constexpr u32 ROWS = Tile::ROWS / Tile::WARPS_M, COLUMNS = Tile::COLUMNS / Tile::WARPS_N;
    static constexpr u32 M = ROWS / 16, N = COLUMNS / 8;
    static_assert(M >= 1 && N >= 2 && N % 2 == 0);
    float sum[M][N][4];

    __device__ __forceinline__ TensorCores() {
#pragma unroll
        for (u32 i = 0; i < M; ++i)
#pragma unroll
            for (u32 j = 0; j < N; ++j)
#pragma unroll
                for (u32 e = 0; e < 4; ++e) sum[i][j][e] = 0.0f;
    }

    static __device__ __forceinline__ u32 first_row() { return threadIdx.x / WARP / Tile::WARPS_N * ROWS; }
    static __device__ __forceinline__ u32 first_column() { return threadIdx.x / WARP % Tile::WARPS_N * COLUMNS; }

    // The two halves of the rows (8 each) times the two halves of the depth (16 bytes each), from row `first` on: rows
    // first in the order of the result with ROWS_FIRST (the a operand), depth first without (two b operands).
    template <class Layout, bool ROWS_FIRST>
    static __device__ __forceinline__ void load(u32 (&f)[4], const u8* from, u32 first, u32 step) {
        const u32 lane = threadIdx.x % WARP;
        const u32 low = lane / 8 % 2, high = lane / 16;
        const u32 row_half = ROWS_FIRST ? low : high, depth_half = ROWS_FIRST ? high : low;
        if constexpr (Layout::INNER) {
            const u32 row = lane % 8 + row_half * 8;
            load_matrices(f, from + first * SLICE_BYTES + Layout::at(row, step * 2 + depth_half));
        } else if constexpr (sizeof(T) == 2) {
            const u32 depth = step * 16 + depth_half * 8 + lane % 8;
            load_matrices_transposed(f, from + depth * Layout::STRIDE + (first + row_half * 8) * sizeof(T));
        } else {
            const u8* at = from + (step * 8 + lane % 4) * Layout::STRIDE + (first + lane / 4) * sizeof(T);
#pragma unroll
            for (u32 e = 0; e < 4; ++e) {
                const u32 row = (ROWS_FIRST ? e % 2 : e / 2) * 8, depth = (ROWS_FIRST ? e / 2 : e % 2) * 4;
                f[e] = *reinterpret_cast<const u32*>(at + depth * Layout::STRIDE + row * sizeof(T));
            }
        }
        if constexpr (sizeof(T) == 4) {
#pragma unroll
            for (u32 e = 0; e < 4; ++e) f[e] = to_tf32(f[e]);
        }
    }

    __device__ __forceinline__ void multiply(const u8* a, const u8* b) {
#pragma unroll
        for (u32 step = 0; step < SLICE_BYTES / STEP_BYTES; ++step) {
            u32 fa[M][4], fb[N][2];
#pragma unroll
            for (u32 i = 0; i < M; ++i) load<A, true>(fa[i], a, first_row() + i * 16, step);
#pragma unroll
            for (u32 j = 0; j < N; j += 2) {
                u32 f[4];
                load<B, false>(f, b, first_column() + j * 8, step);
                fb[j][0] = f[0], fb[j][1] = f[1], fb[j + 1][0] = f[2], fb[j + 1][1] = f[3];
            }
#pragma unroll
            for (u32 i = 0; i < M; ++i)
#pragma unroll
                for (u32 j = 0; j < N; ++j) multiply_add<P>(sum[i][j], fa[i], fb[j]);
        }
    }

    __device__ __forceinline__ void put(float* to, u32 stride) const {
        const u32 lane = threadIdx.x % WARP;
        to += (first_row() + lane / 4) * stride + first_column() + lane % 4 * 2;
#pragma unroll
        for (u32 i = 0; i < M; ++i)
#pragma unroll
            for (u32 j = 0; j < N; ++j) {
                float* at = to + i * 16 * stride + j * 8;
                *reinterpret_cast<float2*>(at) = make_float2(sum[i][j][0], sum[i][j][1]);
                *reinterpret_cast<float2*>(at + 8 * stride) = make_float2(sum[i][j][2], sum[i][j][3]);
            }
    }
};

template <bool TENSOR_CORES, class P, class Tile, class A, class B> struct Choose {
    using Product = Fma<P, Tile, A, B>;
};
template <class P, class Tile, class A, class B> struct Choose<true, P, Tile, A, B> {
    using Product = TensorCores<P, Tile, A, B>;
};

// The rows of the product, pixels, that one block computes: the next of all images', or, where moments are wanted, of one
// image, whose last tile may be short.
template <class Tile> struct TileRows {
    u32 first, end;

    // Of n images of `map` rows.
    __device__ __forceinline__ TileRows(const float* moments, u32 n, u32 map) {
        if (moments) {
            const u32 tiles = ceil_div(map, Tile::ROWS), image = blockIdx.x / tiles;
            first = image * map + blockIdx.x % tiles * Tile::ROWS, end = (image + 1) * map;
        } else {
            first = blockIdx.x * Tile::ROWS, end = n * map;
        }
    }
};

// Where mean and sum of squared deviations of a tile's columns go, for the instance norm that follows: [image][group of
// rows][2][c]. Columns are the channels of `taps` pixels; a group is what one tile has of one tap: image by image, tap by
// tap, tile by tile.
struct Moments {
    static constexpr bool WANTED = true;
    float* to;
    u32 map, taps, c;

    // The tile of ROWS rows of this block.
    template <u32 ROWS> __device__ __forceinline__ u32 rows() const {
        return min(ROWS, map - blockIdx.x % ceil_div(map, ROWS) * ROWS);
    }
    template <u32 ROWS> __device__ __forceinline__ u32 at(u32 column) const {
        const u32 tiles = ceil_div(map, ROWS), image = blockIdx.x / tiles, tile = blockIdx.x % tiles;
        return ((image * taps + column / c) * tiles + tile) * 2 * c + column % c;
    }
};
// Of a product that nobody wants the moments of.
struct NoMoments {
    static constexpr bool WANTED = false;
};

// Two passes over the finished tile, never E[x^2] - mean^2: half of the threads sum the upper half of the rows.
template <class Tile>
__device__ __forceinline__ void store_moments(const Moments& moments, const float* result, u32 stride, float* sums,
                                              u32 column0, u32 columns) {
    static_assert(Tile::THREADS == 2 * Tile::COLUMNS);
    const u32 rows = moments.rows<Tile::ROWS>(), column = threadIdx.x % Tile::COLUMNS, half = threadIdx.x / Tile::COLUMNS;
    const u32 begin = half * (Tile::ROWS / 2), end = min(begin + Tile::ROWS / 2, rows);
    float sum = 0.0f, m2 = 0.0f;
#pragma unroll 4
    for (u32 row = begin; row < end; ++row) sum += result[row * stride + column];
    sums[threadIdx.x] = sum;
    __syncthreads();
    const float mean = (sums[column] + sums[column + Tile::COLUMNS]) / rows;
    __syncthreads();
#pragma unroll 4
    for (u32 row = begin; row < end; ++row) {
        const float d = result[row * stride + column] - mean;
        m2 += d * d;
    }
    sums[threadIdx.x] = m2;
    __syncthreads();
    if (half != 0 || column0 + column >= columns) return;
    const u32 at = moments.at<Tile::ROWS>(column0 + column);
    moments.to[at] = mean, moments.to[at + moments.c] = m2 + sums[column + Tile::COLUMNS];
}

// Where a product goes: into y = act(product + bias + residual), or, of a product whose depth is split over several
// blocks, as f32 into the part of `partial` (`count` numbers) that belongs to this split.
template <class T> struct Output {
    T* y;
    float* partial;
    const T* bias;
    const T* residual;
    float slope;
    u32 columns;

    // Numbers `column`.. of a row, at y[at].. With KEEP they are left in `from` as they were stored.
    template <bool KEEP> __device__ __forceinline__ void store16(u32 at, u32 column, float* from) const {
        float v[LANES<T>];
#pragma unroll
        for (u32 e = 0; e < LANES<T>; e += 4) {
            const float4 f = *reinterpret_cast<const float4*>(from + e);
            v[e] = f.x, v[e + 1] = f.y, v[e + 2] = f.z, v[e + 3] = f.w;
        }
        if (partial) {
#pragma unroll
            for (u32 e = 0; e < LANES<T>; e += 4)
                *reinterpret_cast<float4*>(partial + at + e) = make_float4(v[e], v[e + 1], v[e + 2], v[e + 3]);
            return;
        }
        if (bias) {
            const Vec<T> add = load16(bias + column);
#pragma unroll
            for (u32 e = 0; e < LANES<T>; ++e) v[e] += to_f32(add.v[e]);
        }
        if (residual) {
            const Vec<T> add = load16(residual + at);
#pragma unroll
            for (u32 e = 0; e < LANES<T>; ++e) v[e] += to_f32(add.v[e]);
        }
        Vec<T> result;
#pragma unroll
        for (u32 e = 0; e < LANES<T>; ++e) result.v[e] = from_f32<T>(activate(v[e], slope));
        ::store16(y + at, result);
        if constexpr (KEEP) {
#pragma unroll
            for (u32 e = 0; e < LANES<T>; ++e) from[e] = to_f32(result.v[e]);
        }
    }

    template <bool KEEP> __device__ __forceinline__ void store1(u32 at, u32 column, float* from) const {
        float v = *from;
        if (partial) {
            partial[at] = v;
            return;
        }
        if (bias) v += to_f32(bias[column]);
        if (residual) v += to_f32(residual[at]);
        const T result = from_f32<T>(activate(v, slope));
        y[at] = result;
        if constexpr (KEEP) *from = to_f32(result);
    }
};

// No such row.
constexpr u32 NOWHERE = 0xffffffffu;

// Multiplies `slices` slices and stores the tile whose first column is `column0`. `row_at(i)` is where row i of the tile
// begins in the result, or NOWHERE; `column_at(column)` how far behind that a column lies. `vectors`: 16-byte chunks of
// columns stay together and aligned in the result. `moments`: NoMoments, or where those of the columns go, if anywhere.
template <class P, class Tile, class A, class B, class T, class M, class RowAt, class ColumnAt>
__device__ __forceinline__ void multiply_and_store(A& a, B& b, u32 slices, const Output<T>& out, const M& moments,
                                                   u32 column0, bool vectors, RowAt row_at, ColumnAt column_at) {
    constexpr bool KEEP = M::WANTED;
    constexpr u32 STAGE = A::Layout::BYTES + B::Layout::BYTES;
    // 8 mod 32: neither four rows of eight threads (FFMA) nor four of mma.sync's share a bank.
    constexpr u32 STRIDE = Tile::COLUMNS + 8;
    constexpr u32 RESULT = Tile::ROWS * STRIDE * 4;
    constexpr u32 BYTES = Tile::STAGES * STAGE > RESULT + Tile::ROWS * 4 ? Tile::STAGES * STAGE : RESULT + Tile::ROWS * 4;
    static_assert(BYTES <= 48 * 1024);
    __shared__ __align__(128) u8 shared[BYTES];

    typename Choose<P::TENSOR_CORES, P, Tile, typename A::Layout, typename B::Layout>::Product product;
    u32 loaded = 0, fill = 0, use = 0;
    // One iteration loads a slice and, once the pipeline is full, multiplies one. A group is committed every time, even an
    // empty one, so that the count of groups tells which slice has arrived.
    for (u32 step = 0; step < slices + Tile::STAGES - 1; ++step) {
        const bool full = step >= Tile::STAGES - 1;
        if (full) {
            copy_async_wait<Tile::STAGES - 2>();
            __syncthreads();
        }
        if (loaded < slices) {
            a.load(shared + fill);
            b.load(shared + fill + A::Layout::BYTES);
            ++loaded;
            fill = fill + STAGE == Tile::STAGES * STAGE ? 0 : fill + STAGE;
        }
        copy_async_commit();
        if (full) {
            product.multiply(shared + use, shared + use + A::Layout::BYTES);
            use = use + STAGE == Tile::STAGES * STAGE ? 0 : use + STAGE;
        }
    }
    copy_async_wait<0>();
    __syncthreads();

    float* result = reinterpret_cast<float*>(shared);
    u32* places = reinterpret_cast<u32*>(shared + RESULT);
    product.put(result, STRIDE);
    for (u32 i = threadIdx.x; i < Tile::ROWS; i += Tile::THREADS) places[i] = row_at(i);
    __syncthreads();
    constexpr u32 CHUNKS = Tile::COLUMNS / LANES<T>;
#pragma unroll 1
    for (u32 i = threadIdx.x; i < Tile::ROWS * CHUNKS; i += Tile::THREADS) {
        const u32 row = i / CHUNKS, first = i % CHUNKS * LANES<T>, column = column0 + first;
        const u32 place = places[row];
        float* from = result + row * STRIDE + first;
        if (place == NOWHERE || column >= out.columns) continue;
        if (vectors) {
            out.template store16<KEEP>(place + column_at(column), column, from);
        } else {
#pragma unroll 1
            for (u32 e = 0; e < LANES<T> && column + e < out.columns; ++e)
                out.template store1<KEEP>(place + column_at(column + e), column + e, from + e);
        }
    }
    if constexpr (KEEP) {
        static_assert(BYTES - RESULT >= Tile::THREADS * 4);
        if (!moments.to) return;
        __syncthreads();
        store_moments<Tile>(moments, result, STRIDE, reinterpret_cast<float*>(places), column0, out.columns);
    }
}
