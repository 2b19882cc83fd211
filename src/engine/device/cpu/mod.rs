//! The CPU: threads and matrix products that the op kernels are built from.
