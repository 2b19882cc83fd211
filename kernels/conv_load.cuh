// Loaders: what the slices of a convolution's operands consist of (conv_gemm.cuh multiplies them).
//
// Every loader gives each thread the same chunks (16 bytes of the result's shared memory) in every slice, and keeps where
// they are read: positions are counted up digit by digit, never divided in the loop. Whole chunks come by a 16-byte
// cp.async where the channel counts keep them together and aligned, else number by number. What lies outside (padding,
// rows and depths past the end) is zero.
#pragma once
#include "conv_gemm.cuh"

// As in src/engine/ops/conv2d/mod.rs. n, h, w, c: input; k, r, s: filters; oh, ow: output.
struct Conv2d {
    u32 n, h, w, c, k, r, s, stride_h, stride_w, pad_h, pad_w, oh, ow;
};

// This block's slices of the depth: part `split` of `splits` equal parts.
struct Part {
    u32 begin, end;
    __device__ __forceinline__ Part(u32 slices, u32 split, u32 splits) {
        const u32 each = ceil_div(slices, splits);
        begin = min(split * each, slices), end = min(begin + each, slices);
    }
};

// A number of three digits, the low one counted modulo `low`, the middle one modulo `middle`.
struct Digits {
    u32 low, middle, high;
};

// How to add a constant to it.
struct Adder {
    u32 low, middle;
    Digits step;

    __device__ __forceinline__ Adder(u32 low, u32 middle, u32 step)
        : low(low), middle(middle), step(split(low, middle, step)) {}

    static __device__ __forceinline__ Digits split(u32 low, u32 middle, u32 x) {
        return {x % low, x / low % middle, x / low / middle};
    }
    __device__ __forceinline__ Digits of(u32 x) const { return split(low, middle, x); }
    __device__ __forceinline__ void carry(Digits& d) const {
        if (d.low >= low) d.low -= low, ++d.middle;
        if (d.middle >= middle) d.middle -= middle, ++d.high;
    }
    __device__ __forceinline__ void advance(Digits& d) const {
        d.low += step.low, d.middle += step.middle, d.high += step.high;
        carry(d);
    }
    __device__ __forceinline__ void increment(Digits& d) const {
        ++d.low;
        carry(d);
    }
};

// A chunk of 16 bytes, or of as many bytes OUTSIDE, which cp.async can only write if they are 0.
template <u8 OUTSIDE> __device__ __forceinline__ void copy_or_fill16(u8* to, const void* from, bool valid) {
    if (OUTSIDE == 0 || valid) {
        copy_async16(to, from, valid);
    } else {
        constexpr u32 WORD = OUTSIDE * 0x01010101u;
        *reinterpret_cast<uint4*>(to) = make_uint4(WORD, WORD, WORD, WORD);
    }
}

// A chunk whose numbers lie apart: number e is from[offset], where `next(valid)` gives the offsets in turn. Those that are not valid
// are 0, of bytes OUTSIDE.
template <u8 OUTSIDE = 0, class T, class Next>
__device__ __forceinline__ void copy_numbers(u8* to, const T* from, Next next) {
    if constexpr (sizeof(T) == 4) {
#pragma unroll
        for (u32 e = 0; e < LANES<T>; ++e) {
            bool valid;
            const u32 offset = next(valid);
            copy_async4(to + e * sizeof(T), from + (valid ? offset : 0), valid);
        }
    } else if constexpr (sizeof(T) == 1) {
        // Sixteen side by side would take the registers of the sums.
#pragma unroll 1
        for (u32 e = 0; e < LANES<T>; e += 4) {
            u32 word = 0;
#pragma unroll
            for (u32 i = 0; i < 4; ++i) {
                bool valid;
                const u32 offset = next(valid);
                word |= (valid ? static_cast<u8>(from[offset]) : OUTSIDE) << (8 * i);
            }
            *reinterpret_cast<u32*>(to + e) = word;
        }
    } else {
        Vec<T> v;
#pragma unroll
        for (u32 e = 0; e < LANES<T>; ++e) {
            bool valid;
            const u32 offset = next(valid);
            v.v[e] = valid ? from[offset] : from_f32<T>(0.0f);
        }
        store16(reinterpret_cast<T*>(to), v);
    }
}

// A chunk whose numbers lie side by side from `from[at]` on. They are counted from `first`, and there is none at `end` or
// behind. `vectors`: 16 bytes are aligned, and all of them or none there.
template <class T>
__device__ __forceinline__ void copy_chunk(u8* to, const T* from, u32 at, bool inside, u32 first, u32 end, bool vectors) {
    if (vectors) {
        const bool valid = inside && first < end;
        copy_async16(to, from + (valid ? at : 0), valid);
    } else {
        u32 e = 0;
        copy_numbers(to, from, [&](bool& valid) {
            valid = inside && first + e < end;
            return at + e++;
        });
    }
}

// The pixel of the input at the first tap of a result's pixel `row`, counted through all images; it may lie in the padding.
__device__ __forceinline__ void first_pixel(const Conv2d& p, u32 row, u32& n, i32& y, i32& x) {
    const u32 line = row / p.ow;
    n = line / p.oh;
    y = static_cast<i32>(line % p.oh * p.stride_h) - static_cast<i32>(p.pad_h);
    x = static_cast<i32>(row % p.ow * p.stride_w) - static_cast<i32>(p.pad_w);
}

// One axis of the input gradient of a strided convolution. Pixels whose place in the padded input leaves the same
// remainder `phase` by the stride are reached by the same taps, phase + stride * t, from output position q - t, where
// q = place / stride.
struct Phase {
    u32 phase, stride, pad, first, count, taps;

    __device__ __forceinline__ Phase(u32 phase, u32 size, u32 kernel, u32 stride, u32 pad)
        : phase(phase), stride(stride), pad(pad) {
        first = pad > phase ? ceil_div(pad - phase, stride) : 0;
        const u32 behind = size + pad > phase ? ceil_div(size + pad - phase, stride) : 0;
        count = behind > first ? behind - first : 0;
        taps = kernel > phase ? ceil_div(kernel - phase, stride) : 0;
    }
    __device__ __forceinline__ u32 pixel(u32 i) const { return (first + i) * stride + phase - pad; }
};

// The pixels of phase `phase` of both axes, counted through all images.
struct PhasePixels {
    Phase v, u;
    u32 rows, taps_w;

    __device__ __forceinline__ PhasePixels(const Conv2d& p, u32 phase)
        : v(phase / p.stride_w, p.h, p.r, p.stride_h, p.pad_h), u(phase % p.stride_w, p.w, p.s, p.stride_w, p.pad_w),
          rows(p.n * v.count * u.count), taps_w(max(u.taps, 1u)) {}
    __device__ __forceinline__ u32 depth(const Conv2d& p) const { return v.taps * u.taps * p.k; }
    // The output position that its first tap reads.
    __device__ __forceinline__ void first(u32 row, u32& n, i32& oy, i32& ox) const {
        const u32 line = row / u.count;
        n = line / v.count;
        oy = static_cast<i32>(v.first + line % v.count);
        ox = static_cast<i32>(u.first + row % u.count);
    }
    // Where it is in the input.
    __device__ __forceinline__ u32 place(const Conv2d& p, u32 row) const {
        const u32 line = row / u.count;
        return ((line / v.count * p.h + v.pixel(line % v.count)) * p.w + u.pixel(row % u.count)) * p.c;
    }
};

// The chunks of a thread in an operand of Layout DepthInner: a fixed chunk of every PASS-th row.
template <class T, u32 ROWS, u32 THREADS> struct InnerChunks {
    using Layout = DepthInner<T, ROWS>;
    static constexpr u32 COUNT = ROWS * 4 / THREADS, PASS = THREADS / 4;
    static_assert(COUNT * THREADS == ROWS * 4 && PASS % 8 == 0);
    static __device__ __forceinline__ u32 row(u32 i) { return threadIdx.x / 4 + i * PASS; }
    static __device__ __forceinline__ u32 depth() { return threadIdx.x % 4 * LANES<T>; }
    static __device__ __forceinline__ u32 at(u32 i) {
        return Layout::at(threadIdx.x / 4, threadIdx.x % 4) + i * PASS * SLICE_BYTES;
    }
};

// The chunks of a thread in an operand of Layout DepthOuter: a fixed chunk of rows at every PASS-th depth.
template <class T, u32 ROWS, u32 THREADS> struct OuterChunks {
    using Layout = DepthOuter<T, ROWS>;
    static constexpr u32 ACROSS = ROWS / LANES<T>, COUNT = SLICE<T> * ACROSS / THREADS, PASS = THREADS / ACROSS;
    static_assert(COUNT * PASS == SLICE<T> && (!Layout::PERMUTED || PASS % 8 == 0));
    static __device__ __forceinline__ u32 row() { return threadIdx.x % ACROSS * LANES<T>; }
    static __device__ __forceinline__ u32 depth(u32 i) { return threadIdx.x / ACROSS + i * PASS; }
    static __device__ __forceinline__ u32 at(u32 i) {
        return Layout::at(threadIdx.x / ACROSS, threadIdx.x % ACROSS) + i * PASS * Layout::STRIDE;
    }
};

// Rows are pixels of a result, depth is (tap, channel): the pixel of `source` (h, w, c) that a tap reads is the row's
// first one plus (DIRECTION = 1: forward) or minus (-1: input gradient) the tap. Bytes of padding are OUTSIDE.
template <class T, u32 ROWS, u32 THREADS, i32 DIRECTION, u8 OUTSIDE = 0> struct PixelRows {
    using Chunks = InnerChunks<T, ROWS, THREADS>;
    using Layout = typename Chunks::Layout;
    const T* source;
    u32 h, w, c, taps_h;
    bool vectors;
    Adder adder;
    Digits tap;  // channel, column, row
    i32 y[Chunks::COUNT], x[Chunks::COUNT], base[Chunks::COUNT];

    // `pixel(row, n, y, x)` tells the first pixel of a row; false if there is no such row.
    template <class Pixel>
    __device__ __forceinline__ PixelRows(const T* source, u32 h, u32 w, u32 c, u32 taps_h, u32 taps_w, u32 first_slice,
                                         Pixel pixel)
        : source(source), h(h), w(w), c(c), taps_h(taps_h), vectors(c % LANES<T> == 0), adder(c, taps_w, SLICE<T>),
          tap(adder.of(first_slice * SLICE<T> + Chunks::depth())) {
#pragma unroll
        for (u32 i = 0; i < Chunks::COUNT; ++i) {
            u32 n;
            if (!pixel(Chunks::row(i), n, y[i], x[i])) n = 0, y[i] = -(1 << 30), x[i] = 0;
            base[i] = static_cast<i32>(((n * h + y[i]) * w + x[i]) * c);
        }
    }

    __device__ __forceinline__ bool inside(u32 i, const Digits& t) const {
        return t.high < taps_h && static_cast<u32>(y[i] + DIRECTION * static_cast<i32>(t.high)) < h &&
               static_cast<u32>(x[i] + DIRECTION * static_cast<i32>(t.middle)) < w;
    }
    __device__ __forceinline__ i32 offset(const Digits& t) const {
        return DIRECTION * static_cast<i32>((t.high * w + t.middle) * c) + static_cast<i32>(t.low);
    }

    __device__ __forceinline__ void load(u8* to) {
        if (vectors) {
            const i32 off = offset(tap);
#pragma unroll
            for (u32 i = 0; i < Chunks::COUNT; ++i) {
                const bool valid = inside(i, tap);
                copy_or_fill16<OUTSIDE>(to + Chunks::at(i), source + (valid ? base[i] + off : 0), valid);
            }
        } else {
#pragma unroll
            for (u32 i = 0; i < Chunks::COUNT; ++i) {
                Digits t = tap;
                copy_numbers<OUTSIDE>(to + Chunks::at(i), source, [&](bool& valid) {
                    valid = inside(i, t);
                    const u32 at = base[i] + offset(t);
                    adder.increment(t);
                    return at;
                });
            }
        }
        adder.advance(tap);
    }
};

// Rows are filters, depth is (tap, channel): the weights as they lie.
template <class T, u32 ROWS, u32 THREADS> struct FilterRows {
    using Chunks = InnerChunks<T, ROWS, THREADS>;
    using Layout = typename Chunks::Layout;
    const T* weights;
    u32 rows, depth, row0, at;
    bool vectors;

    __device__ __forceinline__ FilterRows(const T* weights, const Conv2d& p, u32 row0, u32 first_slice)
        : weights(weights), rows(p.k), depth(p.r * p.s * p.c), row0(row0),
          at(first_slice * SLICE<T> + Chunks::depth()), vectors(p.c % LANES<T> == 0) {}

    __device__ __forceinline__ void load(u8* to) {
#pragma unroll
        for (u32 i = 0; i < Chunks::COUNT; ++i) {
            const u32 row = row0 + Chunks::row(i);
            copy_chunk(to + Chunks::at(i), weights, row * depth + at, row < rows, at, depth, vectors);
        }
        at += SLICE<T>;
    }
};

// Rows are input channels, depth is (tap of a stride phase, filter): the weights of the taps first + step * tap.
template <class T, u32 ROWS, u32 THREADS> struct FilterColumns {
    using Chunks = OuterChunks<T, ROWS, THREADS>;
    using Layout = typename Chunks::Layout;
    const T* weights;
    u32 r, s, c, first_r, first_s, step_r, step_s, taps_h, column;
    bool vectors;
    Adder adder;
    Digits at[Chunks::COUNT];  // filter, column of the tap, row of the tap

    __device__ __forceinline__ FilterColumns(const T* weights, const Conv2d& p, u32 first_r, u32 first_s, u32 taps_h,
                                             u32 taps_w, u32 column0, u32 first_slice)
        : weights(weights), r(p.r), s(p.s), c(p.c), first_r(first_r), first_s(first_s), step_r(p.stride_h),
          step_s(p.stride_w), taps_h(taps_h), column(column0 + Chunks::row()), vectors(p.c % LANES<T> == 0),
          adder(p.k, taps_w, SLICE<T>) {
#pragma unroll
        for (u32 i = 0; i < Chunks::COUNT; ++i) at[i] = adder.of(first_slice * SLICE<T> + Chunks::depth(i));
    }

    // The taps of a phase.
    __device__ __forceinline__ FilterColumns(const T* weights, const Conv2d& p, const PhasePixels& of, u32 column0,
                                             u32 first_slice)
        : FilterColumns(weights, p, of.v.phase, of.u.phase, of.v.taps, of.taps_w, column0, first_slice) {}

    __device__ __forceinline__ void load(u8* to) {
#pragma unroll
        for (u32 i = 0; i < Chunks::COUNT; ++i) {
            const u32 row = first_r + step_r * at[i].high, line = first_s + step_s * at[i].middle;
            const u32 base = ((at[i].low * r + row) * s + line) * c + column;
            copy_chunk(to + Chunks::at(i), weights, base, at[i].high < taps_h, column, c, vectors);
            adder.advance(at[i]);
        }
    }
};

// Rows are filters, depth is positions: the result's gradient as it lies.
template <class T, u32 ROWS, u32 THREADS> struct GradientColumns {
    using Chunks = OuterChunks<T, ROWS, THREADS>;
    using Layout = typename Chunks::Layout;
    const T* dy;
    u32 positions, k, column, position;
    bool vectors;

    __device__ __forceinline__ GradientColumns(const T* dy, const Conv2d& p, u32 column0, u32 first_slice)
        : dy(dy), positions(p.n * p.oh * p.ow), k(p.k), column(column0 + Chunks::row()),
          position(first_slice * SLICE<T>), vectors(p.k % LANES<T> == 0) {}

    __device__ __forceinline__ void load(u8* to) {
#pragma unroll
        for (u32 i = 0; i < Chunks::COUNT; ++i) {
            const u32 at = position + Chunks::depth(i);
            copy_chunk(to + Chunks::at(i), dy, at * k + column, at < positions, column, k, vectors);
        }
        position += SLICE<T>;
    }
};

// Rows are (tap, channel), depth is positions: the input pixel that a tap reads for a position.
template <class T, u32 ROWS, u32 THREADS> struct PixelColumns {
    using Chunks = OuterChunks<T, ROWS, THREADS>;
    using Layout = typename Chunks::Layout;
    const T* x;
    u32 n, h, w, c, taps_h, stride_h, stride_w, pad_h, pad_w;
    bool vectors;
    Adder taps, adder;
    Digits tap;                // channel, column, row: of the chunk's first number
    Digits at[Chunks::COUNT];  // ox, oy, image

    __device__ __forceinline__ PixelColumns(const T* x, const Conv2d& p, u32 column0, u32 first_slice)
        : x(x), n(p.n), h(p.h), w(p.w), c(p.c), taps_h(p.r), stride_h(p.stride_h), stride_w(p.stride_w), pad_h(p.pad_h),
          pad_w(p.pad_w), vectors(p.c % LANES<T> == 0), taps(p.c, p.s, 1), adder(p.ow, p.oh, SLICE<T>),
          tap(taps.of(column0 + Chunks::row())) {
#pragma unroll
        for (u32 i = 0; i < Chunks::COUNT; ++i) at[i] = adder.of(first_slice * SLICE<T> + Chunks::depth(i));
    }

    __device__ __forceinline__ void load(u8* to) {
#pragma unroll
        for (u32 i = 0; i < Chunks::COUNT; ++i) {
            const u32 y0 = at[i].middle * stride_h - pad_h, x0 = at[i].low * stride_w - pad_w, image = at[i].high;
            const auto place = [&](const Digits& t, bool& valid) {
                const u32 y = y0 + t.high, column = x0 + t.middle;
                valid = image < n && t.high < taps_h && y < h && column < w;
                return ((image * h + y) * w + column) * c + t.low;
            };
            if (vectors) {
                bool valid;
                const u32 offset = place(tap, valid);
                copy_async16(to + Chunks::at(i), x + (valid ? offset : 0), valid);
            } else {
                Digits t = tap;
                copy_numbers(to + Chunks::at(i), x, [&](bool& valid) {
                    const u32 offset = place(t, valid);
                    taps.increment(t);
                    return offset;
                });
            }
            adder.advance(at[i]);
        }
    }
};
