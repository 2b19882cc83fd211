// The matrix product behind every convolution: c[rows, columns] = sum over depth of a * b, both operands brought slice by
// slice into shared memory by loaders (conv_load.cuh), the result finished and stored row by row.
//
// A block computes one tile of c. Slices are 64 bytes deep (16 f32 or 32 16-bit numbers) and travel through a ring of
// STAGES buffers filled by cp.async, so that STAGES - 1 of them are under way while one is multiplied. When which tile
// pays is known to src/engine/toolkit/cuda/tiling.rs; build.rs reads `SLICE_BYTES` and the `using` lines below for it.
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
using Small = Tile<32, 32, 1, 2, 4>;
using Medium = Tile<64, 64, 2, 2, 4>;
using Tall = Tile<128, 64, 2, 2, 3>;
using Wide = Tile<64, 128, 2, 2, 3>;
// For tensor cores only: warps of 64x64 read half as much shared memory for a product as those of 64x32 and 32x32 do.
using Large = Tile<128, 128, 2, 2, 4>;

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
// fragments are 4 depths 8 floats wide (stride 32 mod 128 bytes). Rows of 64 bytes and less are permuted instead, as above:
// those that eight threads write at once would share banks if they were padded.
template <class T, u32 ROWS> struct DepthOuter {
    static constexpr u32 ROW_BYTES = ROWS * sizeof(T);
    static constexpr bool INNER = false, PERMUTED = ROW_BYTES <= 64;
    static constexpr u32 STRIDE = ROW_BYTES + (PERMUTED ? 0 : sizeof(T) == 4 ? 32 : 16);
    static constexpr u32 BYTES = SLICE<T> * STRIDE;
    // Depths differ by multiples of 8 where one thread's chunks are concerned.
    static __device__ __forceinline__ u32 at(u32 depth, u32 chunk) {
        return depth * STRIDE + (PERMUTED ? chunk ^ (depth / (128 / ROW_BYTES) & (ROW_BYTES / 16 - 1)) : chunk) * 16;
    }
};

// Products of one thread with FFMA: HEIGHT x WIDTH results.
template <class P, class Tile, class A, class B> struct Fma {
    static constexpr u32 WIDTH = Tile::COLUMNS == 32 ? 4 : 8;
    static constexpr u32 HEIGHT = Tile::ROWS * Tile::COLUMNS / Tile::THREADS / WIDTH;
    static constexpr u32 ACROSS = Tile::COLUMNS / WIDTH, DOWN = Tile::ROWS / HEIGHT;
    static_assert(ACROSS * DOWN == Tile::THREADS && HEIGHT % 4 == 0 && ACROSS % 8 == 0 && DOWN % 8 == 0);
    float sum[HEIGHT][WIDTH];

    __device__ __forceinline__ Fma() {
#pragma unroll
        for (u32 i = 0; i < HEIGHT; ++i)
#pragma unroll
            for (u32 j = 0; j < WIDTH; ++j) sum[i][j] = 0.0f;
    }

    // The operand row of this thread's i-th row, for thread t of `threads` along this side: with [row][depth] every
    // `threads`-th, with [depth][row] groups of four.
    template <class Layout> static __device__ __forceinline__ u32 row(u32 t, u32 threads, u32 i) {
        return Layout::INNER ? t + i * threads : (i / 4 * threads + t) * 4 + i % 4;
    }

    // Four depths of this thread's rows.
    template <class Layout, u32 SIDE>
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
            float fa[4][HEIGHT], fb[4][WIDTH];
            load<A>(fa, a, y, DOWN, chunk);
            load<B>(fb, b, x, ACROSS, chunk);
#pragma unroll
            for (u32 d = 0; d < 4; ++d)
#pragma unroll
                for (u32 i = 0; i < HEIGHT; ++i)
#pragma unroll
                    for (u32 j = 0; j < WIDTH; ++j) sum[i][j] = fmaf(fa[d][i], fb[d][j], sum[i][j]);
        }
    }

    // Puts the sums into `to`, [row][stride].
    __device__ __forceinline__ void put(float* to, u32 stride) const {
        const u32 x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS;
#pragma unroll
        for (u32 i = 0; i < HEIGHT; ++i)
#pragma unroll
            for (u32 j = 0; j < WIDTH; ++j) to[row<A>(y, DOWN, i) * stride + row<B>(x, ACROSS, j)] = sum[i][j];
    }
};

// Products of one warp with mma.sync: (ROWS / 16) x (COLUMNS / 8) results of 16x8.
template <class P, class Tile, class A, class B> struct TensorCores {
    using T = typename P::T;
    using Sum = typename P::Sum;
    static constexpr u32 ROWS = Tile::ROWS / Tile::WARPS_M, COLUMNS = Tile::COLUMNS / Tile::WARPS_N;
    static constexpr u32 M = ROWS / 16, N = COLUMNS / 8;
    static_assert(M >= 1 && N >= 2 && N % 2 == 0);
    // Bytes that lie by depth: two neighbouring matrices of the result have every other column of 16 each.
    static constexpr bool INTERLEAVED = sizeof(T) == 1 && !B::INNER;
    Sum sum[M][N][4];

    __device__ __forceinline__ TensorCores() {
#pragma unroll
        for (u32 i = 0; i < M; ++i)
#pragma unroll
            for (u32 j = 0; j < N; ++j)
#pragma unroll
                for (u32 e = 0; e < 4; ++e) sum[i][j][e] = 0;
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
            load_matrices_transposed(f, from + Layout::at(depth, first / 8 + row_half));
        } else if constexpr (sizeof(T) == 1) {
            load_bytes_by_depth<Layout>(f, from, first, step);
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

    // Of bytes, each matrix of ldmatrix.trans gives a thread two columns at two depths: of the even columns one b operand is made,
    // of the odd ones another. A thread takes four depths, two of each of two matrices; those at 0, 1, 4, 5, 10, 11, 14, 15 are
    // of the first, since these lie in different banks.
    template <class Layout>
    static __device__ __forceinline__ void load_bytes_by_depth(u32 (&f)[4], const u8* from, u32 first, u32 step) {
        const u32 lane = threadIdx.x % WARP, row = lane % 8, matrix = lane / 8;
        const u32 depth = step * 32 + matrix / 2 * 16 + row / 2 * 4 + row % 2 + (matrix % 2 ^ row / 4) * 2;
        u32 pairs[4];
        load_matrices_transposed(pairs, from + Layout::at(depth, first / 16));
        const bool swapped = lane % 4 >= 2;
        const u32 even = swapped ? 0x2064 : 0x6420, odd = swapped ? 0x3175 : 0x7531;
        f[0] = __byte_perm(pairs[0], pairs[1], even), f[1] = __byte_perm(pairs[2], pairs[3], even);
        f[2] = __byte_perm(pairs[0], pairs[1], odd), f[3] = __byte_perm(pairs[2], pairs[3], odd);
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

    __device__ __forceinline__ void put(Sum* to, u32 stride) const {
        const u32 lane = threadIdx.x % WARP;
        to += (first_row() + lane / 4) * stride + first_column() + lane % 4 * (INTERLEAVED ? 4 : 2);
#pragma unroll
        for (u32 i = 0; i < M; ++i)
#pragma unroll
            for (u32 j = 0; j < N; j += INTERLEAVED ? 2 : 1)
#pragma unroll
                for (u32 half = 0; half < 4; half += 2) {
                    Sum* at = to + (i * 16 + half * 4) * stride + j * 8;
                    const Sum(&a)[4] = sum[i][j];
                    if constexpr (INTERLEAVED) {
                        const Sum(&b)[4] = sum[i][j + 1];
                        *reinterpret_cast<int4*>(at) = make_int4(a[half], b[half], a[half + 1], b[half + 1]);
                    } else {
                        struct alignas(2 * sizeof(Sum)) Two {
                            Sum first, second;
                        };
                        *reinterpret_cast<Two*>(at) = {a[half], a[half + 1]};
                    }
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

// Two passes over the finished tile, never E[x^2] - mean^2. Where there are two threads a column, each sums half of the rows.
template <class Tile>
__device__ __forceinline__ void store_moments(const Moments& moments, const float* result, u32 stride, float* sums,
                                              u32 column0, u32 columns) {
    constexpr u32 PARTS = Tile::THREADS / Tile::COLUMNS;
    static_assert(Tile::THREADS == PARTS * Tile::COLUMNS && PARTS <= 2);
    const u32 rows = moments.rows<Tile::ROWS>(), column = threadIdx.x % Tile::COLUMNS, part = threadIdx.x / Tile::COLUMNS;
    const u32 begin = part * (Tile::ROWS / PARTS), end = min(begin + Tile::ROWS / PARTS, rows);
    // Of all parts of a column, for their first thread.
    const auto total = [&](float own) {
        if constexpr (PARTS == 1) return own;
        __syncthreads();
        sums[threadIdx.x] = own;
        __syncthreads();
        return sums[column] + sums[column + Tile::COLUMNS];
    };
    float sum = 0.0f, m2 = 0.0f;
#pragma unroll 4
    for (u32 row = begin; row < end; ++row) sum += result[row * stride + column];
    const float mean = total(sum) / rows;
#pragma unroll 4
    for (u32 row = begin; row < end; ++row) {
        const float d = result[row * stride + column] - mean;
        m2 += d * d;
    }
    m2 = total(m2);
    if (part != 0 || column0 + column >= columns) return;
    const u32 at = moments.at<Tile::ROWS>(column0 + column);
    moments.to[at] = mean, moments.to[at + moments.c] = m2;
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

    // Finishes numbers `column`.. of a row, at y[at]..; with `keep` they are left in `from` as they were stored.
    __device__ __forceinline__ void store16(u32 at, u32 column, float* from, bool keep) const {
        // Where a chunk has two halves of 16 bytes, every other four threads begin with the upper one: eight threads that
        // read the same half would use every bank twice.
        const u32 first = LANES<T> == 8 ? threadIdx.x / 4 % 2 * 4 : 0;
        float v[LANES<T>];
#pragma unroll
        for (u32 e = 0; e < LANES<T>; e += 4) {
            const float4 f = *reinterpret_cast<const float4*>(from + (e ^ first));
            v[e] = f.x, v[e + 1] = f.y, v[e + 2] = f.z, v[e + 3] = f.w;
        }
        swap_halves(v, first != 0);
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
        if (keep) {
#pragma unroll
            for (u32 e = 0; e < LANES<T>; ++e) v[e] = to_f32(result.v[e]);
            swap_halves(v, first != 0);
#pragma unroll
            for (u32 e = 0; e < LANES<T>; e += 4)
                *reinterpret_cast<float4*>(from + (e ^ first)) = make_float4(v[e], v[e + 1], v[e + 2], v[e + 3]);
        }
    }

    static __device__ __forceinline__ void swap_halves(float (&v)[LANES<T>], bool swap) {
        constexpr u32 HALF = LANES<T> / 2;
#pragma unroll
        for (u32 e = 0; e < HALF; ++e) {
            const float low = v[e], high = v[e + HALF];
            v[e] = swap ? high : low, v[e + HALF] = swap ? low : high;
        }
    }

    __device__ __forceinline__ void store1(u32 at, u32 column, float* from, bool keep) const {
        float v = *from;
        if (partial) {
            partial[at] = v;
            return;
        }
        if (bias) v += to_f32(bias[column]);
        if (residual) v += to_f32(residual[at]);
        const T result = from_f32<T>(activate(v, slope));
        y[at] = result;
        if (keep) *from = to_f32(result);
    }
};

// Shared memory of the host's choice: of what is fixed when compiled, a block has 48 KiB at most.
extern __shared__ __align__(128) u8 launched_shared[];

// `BYTES` of shared memory; beyond 48 KiB the launch must give as many.
template <u32 BYTES> __device__ __forceinline__ u8* shared_memory() {
    if constexpr (BYTES > 48 * 1024) {
        return launched_shared;
    } else {
        __shared__ __align__(128) u8 fixed[BYTES];
        return fixed;
    }
}

// No such row.
constexpr u32 NOWHERE = 0xffffffffu;

// Multiplies `slices` slices, which pass through the ring in `shared`; it is free again behind this.
template <class Tile, class A, class B, class Product>
__device__ __forceinline__ void multiply_slices(u8* shared, A& a, B& b, u32 slices, Product& product) {
    constexpr u32 STAGE = A::Layout::BYTES + B::Layout::BYTES;
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
}

// Multiplies `slices` slices and stores the tile whose first column is `column0`. `row_at(i)` is where row i of the tile
// begins in the result, or NOWHERE; `column_at(column)` how far behind that a column lies. `vectors`: 16-byte chunks of
// columns stay together and aligned in the result. `moments`: NoMoments, or where those of the columns go, if anywhere.
template <class P, class Tile, class A, class B, class T, class M, class RowAt, class ColumnAt>
__device__ __forceinline__ void multiply_and_store(A& a, B& b, u32 slices, const Output<T>& out, const M& moments,
                                                   u32 column0, bool vectors, RowAt row_at, ColumnAt column_at) {
    constexpr u32 STAGE = A::Layout::BYTES + B::Layout::BYTES;
    // 8 mod 32: neither four rows of eight threads (FFMA) nor four of mma.sync's share a bank.
    constexpr u32 STRIDE = Tile::COLUMNS + 8;
    constexpr u32 RESULT = Tile::ROWS * STRIDE * 4;
    // The sums of store_moments take the place of the rows' once those are used.
    constexpr u32 TAIL = (Tile::ROWS > Tile::THREADS ? Tile::ROWS : Tile::THREADS) * 4;
    constexpr u32 BYTES = Tile::STAGES * STAGE > RESULT + TAIL ? Tile::STAGES * STAGE : RESULT + TAIL;
    u8* const shared = shared_memory<BYTES>();

    typename Choose<P::TENSOR_CORES, P, Tile, typename A::Layout, typename B::Layout>::Product product;
    multiply_slices<Tile>(shared, a, b, slices, product);

    float* result = reinterpret_cast<float*>(shared);
    u32* places = reinterpret_cast<u32*>(shared + RESULT);
    product.put(result, STRIDE);
    for (u32 i = threadIdx.x; i < Tile::ROWS; i += Tile::THREADS) places[i] = row_at(i);
    __syncthreads();
    if (out.partial && vectors) {
        constexpr u32 CHUNKS = Tile::COLUMNS / 4;
#pragma unroll 1
        for (u32 i = threadIdx.x; i < Tile::ROWS * CHUNKS; i += Tile::THREADS) {
            const u32 row = i / CHUNKS, first = i % CHUNKS * 4, place = places[row];
            if (place == NOWHERE || column0 + first >= out.columns) continue;
            const float4 sums = *reinterpret_cast<const float4*>(result + row * STRIDE + first);
            *reinterpret_cast<float4*>(out.partial + place + column_at(column0 + first)) = sums;
        }
        return;
    }
    bool keep = false;
    if constexpr (M::WANTED) keep = moments.to != nullptr;
    constexpr u32 CHUNKS = Tile::COLUMNS / LANES<T>;
    // A thread has the same columns in every PASS-th row.
    constexpr u32 PASS = Tile::THREADS / CHUNKS;
    static_assert(PASS * CHUNKS == Tile::THREADS);
    const u32 row0 = threadIdx.x / CHUNKS, column = column0 + threadIdx.x % CHUNKS * LANES<T>;
    if (column < out.columns) {
        const u32 behind = column_at(column);
#pragma unroll 1
        for (u32 i = row0; i < Tile::ROWS; i += PASS) {
            const u32 place = places[i];
            float* from = result + i * STRIDE + column - column0;
            if (place == NOWHERE) continue;
            if (vectors) {
                out.store16(place + behind, column, from, keep);
            } else {
#pragma unroll 1
                for (u32 e = 0; e < LANES<T> && column + e < out.columns; ++e)
                    out.store1(place + column_at(column + e), column + e, from + e, keep);
            }
        }
    }
    if constexpr (M::WANTED) {
        if (!keep) return;
        __syncthreads();
        store_moments<Tile>(moments, result, STRIDE, reinterpret_cast<float*>(places), column0, out.columns);
    }
}
