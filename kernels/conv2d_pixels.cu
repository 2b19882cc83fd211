// Convolution of pixels with 16-bit weights, with exact sums in 32 bits:
//   y = act(sum * scale[channel] + bias), sum = the convolution of x - mean with w in whole numbers
// y leaves as f32 or as bytes. Any filter size up to MAX_STEPS words, stride and symmetric padding.
//
// Shapes: x (n, h, w, 3), w (k, r, s, 3), scale and bias (k), y (n, oh, ow, k). `mean`: a byte of every channel, red lowest.
//
// Threads: one a pixel of the result, with 32 of its channels. Grid: (pixels / 128, k / 32), both rounded up.
//
// A weight is 256 times a signed byte and an unsigned one: dp4a sums four pixels' products with the former, the sums are shifted, and the
// products with the latter added to them; modulo 2^32 that is the sum. Padding holds the mean, and what the mean of a whole window
// would make is subtracted in the end.
//
// Shared memory (dynamic): per word of a window, 128 of pixels, [word][thread], and 2 * 36 of weights, [half][word][channel]; then
// [warp][channel] of what the mean makes. 34.1 KB for 7x7, given by the launch. A thread reads its own column of pixels, and all the
// same weights. Pixels come byte by byte, six apart from lane to lane, from a cache after the first.
//
// Flops and bytes: ResNet's first layer on 256x256: 0.15 G products, 77 M dp4a, 5 us at the 64 of them that a Hopper multiprocessor does
// each cycle; 0.2 MB of x, 1 MB of y in bytes.
//
// Fuses: padding, scales, bias, activation, conversion to bytes, operation by operation as the CPU has it.
// Numbers: 32 channels a thread make four dp4a of each load of weights; chosen without a GPU.
#include "bytes.cuh"
#include "conv_load.cuh"

constexpr u32 PIXEL_THREADS = 128, PIXEL_COLUMNS = 32, PIXEL_CHANNELS = 3;
// Words from one of a filter's to the next: the eight that a warp writes within a line share no bank.
constexpr u32 PIXEL_STRIDE = PIXEL_COLUMNS + 4;

// d = c + products of unsigned bytes of a with bytes of b.
__device__ __forceinline__ i32 dot_signed(u32 a, u32 b, i32 c) {
    i32 d;
    asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}
__device__ __forceinline__ i32 dot_unsigned(u32 a, u32 b, i32 c) {
    i32 d;
    asm("dp4a.u32.u32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}

// Adds a pixel's products with one of the bytes of 32 channels' weights.
template <class Dot>
__device__ __forceinline__ void add_products(i32 (&sum)[PIXEL_COLUMNS], const u32* pixels, const u32* weights, u32 steps, Dot dot) {
#pragma unroll 1
    for (u32 step = 0; step < steps; ++step, pixels += PIXEL_THREADS, weights += PIXEL_STRIDE) {
#pragma unroll
        for (u32 i = 0; i < PIXEL_COLUMNS; i += 4) {
            const uint4 four = *reinterpret_cast<const uint4*>(weights + i);
            sum[i] = dot(*pixels, four.x, sum[i]);
            sum[i + 1] = dot(*pixels, four.y, sum[i + 1]);
            sum[i + 2] = dot(*pixels, four.z, sum[i + 2]);
            sum[i + 3] = dot(*pixels, four.w, sum[i + 3]);
        }
    }
}

extern "C" __global__ void __launch_bounds__(128) conv2d_pixels_fwd_u8(float* y, u8* bytes, const u8* x, const i16* w,
                                                                    const float* scale, const float* bias, u32 mean,
                                                                    Conv2d p, Int8Finish by) {
    const u32 own = threadIdx.x, line = p.s * PIXEL_CHANNELS, run = ceil_div(line, 4u), steps = p.r * run;
    u32* pixels = reinterpret_cast<u32*>(launched_shared);
    u32* weights = pixels + steps * PIXEL_THREADS;
    i32* of_mean = reinterpret_cast<i32*>(weights + 2 * steps * PIXEL_STRIDE);

    const u32 row = blockIdx.x * PIXEL_THREADS + own, column0 = blockIdx.y * PIXEL_COLUMNS;
    const bool inside = row < p.n * p.oh * p.ow;
    u32 n = 0;
    i32 iy = 0, ix = 0;
    if (inside) first_pixel(p, row, n, iy, ix);
#pragma unroll 1
    for (u32 step = 0; step < steps; ++step) {
        const u32 r = step / run, first = step % run * 4;
        const u32 at_y = static_cast<u32>(iy + static_cast<i32>(r));
        u32 word = 0;
#pragma unroll
        for (u32 b = 0; b < 4; ++b) {
            const u32 i = first + b, channel = i % PIXEL_CHANNELS;
            const u32 at_x = static_cast<u32>(ix + static_cast<i32>(i / PIXEL_CHANNELS));
            u32 value = mean >> (8 * channel) & 0xff;
            // Coordinates before the picture's are very large ones.
            if (inside && i < line && at_y < p.h && at_x < p.w)
                value = x[((n * p.h + at_y) * p.w + at_x) * PIXEL_CHANNELS + channel];
            word |= value << (8 * b);
        }
        pixels[step * PIXEL_THREADS + own] = word;
    }
    for (u32 i = own; i < 2 * steps * PIXEL_STRIDE; i += PIXEL_THREADS) weights[i] = 0;
    __syncthreads();
    // In the order of memory.
    const u32 filter = p.r * line, columns = min(PIXEL_COLUMNS, p.k - column0);
    u8* high = reinterpret_cast<u8*>(weights);
    u8* low = high + steps * PIXEL_STRIDE * 4;
    for (u32 i = own; i < columns * filter; i += PIXEL_THREADS) {
        const u32 value = static_cast<u32>(w[column0 * filter + i]);
        const u32 column = i / filter, r = i % filter / line, of_line = i % line;
        const u32 at = ((r * run + of_line / 4) * PIXEL_STRIDE + column) * 4 + of_line % 4;
        high[at] = value >> 8 & 0xff;
        low[at] = value & 0xff;
    }
    __syncthreads();
    {
        // Every warp takes some words, a lane one channel.
        constexpr u32 WARPS = PIXEL_THREADS / WARP;
        static_assert(WARP == PIXEL_COLUMNS);
        i32 signed_sum = 0, unsigned_sum = 0;
        for (u32 step = own / WARP; step < steps; step += WARPS) {
            // A word starts with any of the channels.
            const u32 start = step % run * 4 % PIXEL_CHANNELS;
            const u32 word = __byte_perm(mean, 0, start == 0 ? 0x0210 : start == 1 ? 0x1021 : 0x2102);
            signed_sum = dot_signed(word, weights[step * PIXEL_STRIDE + own % WARP], signed_sum);
            unsigned_sum = dot_unsigned(word, weights[(steps + step) * PIXEL_STRIDE + own % WARP], unsigned_sum);
        }
        of_mean[own] = signed_sum * 256 + unsigned_sum;
    }
    __syncthreads();
    if (!inside) return;
    i32 sum[PIXEL_COLUMNS] = {};
    add_products(sum, pixels + own, weights, steps, dot_signed);
#pragma unroll
    for (u32 i = 0; i < PIXEL_COLUMNS; ++i) sum[i] *= 256;
    add_products(sum, pixels + own, weights + steps * PIXEL_STRIDE, steps, dot_unsigned);
    const Finished out = {y, bytes, scale, bias, nullptr, nullptr, by, p.k};
    const bool vectors = p.k % 4 == 0;
#pragma unroll
    for (u32 i = 0; i < PIXEL_COLUMNS / 4; ++i) {
        const u32 column = column0 + 4 * i;
        if (column >= p.k) break;
        int4 four = make_int4(sum[4 * i], sum[4 * i + 1], sum[4 * i + 2], sum[4 * i + 3]);
#pragma unroll
        for (u32 warp = 0; warp < PIXEL_THREADS / WARP; ++warp) {
            const int4 less = reinterpret_cast<const int4*>(of_mean)[warp * PIXEL_COLUMNS / 4 + i];
            four.x -= less.x, four.y -= less.y, four.z -= less.z, four.w -= less.w;
        }
        float scales[4], biases[4];
        const u32 count = min(4u, p.k - column);
        out.load(column, scales, biases, count, vectors);
        out.store(row * p.k + column, four, scales, biases, count, vectors);
    }
}
