//! CPU kernels of the convolution: forward, input gradient, weight gradient.
