//! Two-dimensional convolution (cross-correlation, as PyTorch's `conv2d`), NHWC activations and KRSC weights.

pub mod cpu;
pub mod gather;
pub mod winograd;
pub mod winograd_weight;

/// Sizes of one convolution. `n,h,w,c`: input; `k,r,s`: filters; `oh,ow`: output. Symmetric padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Conv2d {
    pub n: u32,
    pub h: u32,
    pub w: u32,
    pub c: u32,
    pub k: u32,
    pub r: u32,
    pub s: u32,
    pub stride_h: u32,
    pub stride_w: u32,
    pub pad_h: u32,
    pub pad_w: u32,
    pub oh: u32,
    pub ow: u32,
}
