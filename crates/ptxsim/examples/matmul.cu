// C = A * B, all row-major f32, sizes multiples of the tile: 128x128 per block, 8x8 per thread, two stages of cp.async.
// nvrtc --gpu-architecture=compute_80 matmul.cu > matmul.ptx
constexpr int TILE = 128, DEPTH = 8, THREADS = 256;

__device__ inline void copy16(float* to, const float* from) {
  unsigned at = (unsigned)__cvta_generic_to_shared(to);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from));
}

extern "C" __global__ void __launch_bounds__(THREADS) matmul(float* __restrict__ c, const float* __restrict__ at,
                                                             const float* __restrict__ b, int m, int n, int k) {
  // a is given transposed (k x m), so that both tiles are copied and read along their rows.
  __shared__ __align__(16) float as[2][DEPTH][TILE];
  __shared__ __align__(16) float bs[2][DEPTH][TILE];
  const int thread = threadIdx.x, row0 = blockIdx.y * TILE, col0 = blockIdx.x * TILE;
  const int ty = thread / 16 * 4, tx = thread % 16 * 4;
  const int load_k = thread / 32, load_x = thread % 32 * 4;
  float acc[8][8] = {};
  auto fetch = [&](int stage, int k0) {
    copy16(&as[stage][load_k][load_x], at + (k0 + load_k) * m + row0 + load_x);
    copy16(&bs[stage][load_k][load_x], b + (k0 + load_k) * n + col0 + load_x);
    asm volatile("cp.async.commit_group;");
  };
  fetch(0, 0);
  for (int k0 = 0; k0 < k; k0 += DEPTH) {
    const int stage = k0 / DEPTH & 1;
    asm volatile("cp.async.wait_group 0;");
    __syncthreads();
    if (k0 + DEPTH < k) fetch(stage ^ 1, k0 + DEPTH);
#pragma unroll
    for (int kk = 0; kk < DEPTH; ++kk) {
      float a[8], w[8];
      *(float4*)&a[0] = *(const float4*)&as[stage][kk][ty];
      *(float4*)&a[4] = *(const float4*)&as[stage][kk][ty + 64];
      *(float4*)&w[0] = *(const float4*)&bs[stage][kk][tx];
      *(float4*)&w[4] = *(const float4*)&bs[stage][kk][tx + 64];
#pragma unroll
      for (int i = 0; i < 8; ++i)
#pragma unroll
        for (int j = 0; j < 8; ++j) acc[i][j] += a[i] * w[j];
    }
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    float* out = c + (row0 + ty + i % 4 + i / 4 * 64) * n + col0 + tx;
    *(float4*)out = make_float4(acc[i][0], acc[i][1], acc[i][2], acc[i][3]);
    *(float4*)(out + 64) = make_float4(acc[i][4], acc[i][5], acc[i][6], acc[i][7]);
  }
}
