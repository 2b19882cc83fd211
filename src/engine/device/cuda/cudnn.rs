//! Convolutions by NVIDIA's cuDNN, to compare ours with: NHWC activations and KRSC weights, as here. The library is loaded when first
//! asked for, through `cudarc`.

use super::api::{Answer, Fault, functions, got};
use super::driver::Driver;
use super::gpu::GpuDriver;
use crate::engine::ops::conv2d::Conv2d;
use crate::engine::toolkit::cuda::Number;
use crate::engine::toolkit::cuda::tiling::Pass;
use crate::{Error, Result, device_error};
use cudarc::cudnn::sys;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;

/// Work space that an algorithm may use, in bytes, where the card has as much.
const WORKSPACE: usize = 1 << 30;
/// Algorithms that are asked for, and of these the ones that cuDNN itself found fastest that are timed as our kernels are.
const ASKED: usize = 8;
const TIMED: usize = 3;
/// `CUDNN_FMA_MATH`: products of f32 without tensor cores.
const FMA: c_int = sys::cudnnMathType_t::CUDNN_FMA_MATH as c_int;

functions! {
    sys::culib:
    fn cudnnCreate(handle: *mut sys::cudnnHandle_t);
    fn cudnnDestroy(handle: sys::cudnnHandle_t);
    fn cudnnSetStream(handle: sys::cudnnHandle_t, stream: *mut c_void);
    fn cudnnCreateTensorDescriptor(tensor: *mut sys::cudnnTensorDescriptor_t);
    fn cudnnDestroyTensorDescriptor(tensor: sys::cudnnTensorDescriptor_t);
    fn cudnnSetTensor4dDescriptor(
        tensor: sys::cudnnTensorDescriptor_t, format: sys::cudnnTensorFormat_t, numbers: sys::cudnnDataType_t, n: c_int, c: c_int, h: c_int,
        w: c_int
    );
    fn cudnnCreateFilterDescriptor(filter: *mut sys::cudnnFilterDescriptor_t);
    fn cudnnDestroyFilterDescriptor(filter: sys::cudnnFilterDescriptor_t);
    fn cudnnSetFilter4dDescriptor(
        filter: sys::cudnnFilterDescriptor_t, numbers: sys::cudnnDataType_t, format: sys::cudnnTensorFormat_t, k: c_int, c: c_int, h: c_int,
        w: c_int
    );
    fn cudnnCreateConvolutionDescriptor(convolution: *mut sys::cudnnConvolutionDescriptor_t);
    fn cudnnDestroyConvolutionDescriptor(convolution: sys::cudnnConvolutionDescriptor_t);
    fn cudnnSetConvolution2dDescriptor(
        convolution: sys::cudnnConvolutionDescriptor_t, pad_h: c_int, pad_w: c_int, stride_h: c_int, stride_w: c_int, dilation_h: c_int,
        dilation_w: c_int, mode: sys::cudnnConvolutionMode_t, numbers: sys::cudnnDataType_t
    );
    fn cudnnSetConvolutionMathType(convolution: sys::cudnnConvolutionDescriptor_t, math: sys::cudnnMathType_t);
    fn cudnnFindConvolutionForwardAlgorithmEx(
        handle: sys::cudnnHandle_t, a_is: *mut c_void, a: *const c_void, b_is: *mut c_void, b: *const c_void,
        convolution: sys::cudnnConvolutionDescriptor_t, result_is: *mut c_void, result: *mut c_void, asked: c_int, found: *mut c_int,
        tries: *mut Try, workspace: *mut c_void, bytes: usize
    );
    fn cudnnFindConvolutionBackwardDataAlgorithmEx(
        handle: sys::cudnnHandle_t, a_is: *mut c_void, a: *const c_void, b_is: *mut c_void, b: *const c_void,
        convolution: sys::cudnnConvolutionDescriptor_t, result_is: *mut c_void, result: *mut c_void, asked: c_int, found: *mut c_int,
        tries: *mut Try, workspace: *mut c_void, bytes: usize
    );
    fn cudnnFindConvolutionBackwardFilterAlgorithmEx(
        handle: sys::cudnnHandle_t, a_is: *mut c_void, a: *const c_void, b_is: *mut c_void, b: *const c_void,
        convolution: sys::cudnnConvolutionDescriptor_t, result_is: *mut c_void, result: *mut c_void, asked: c_int, found: *mut c_int,
        tries: *mut Try, workspace: *mut c_void, bytes: usize
    );
    fn cudnnConvolutionForward(
        handle: sys::cudnnHandle_t, alpha: *const f32, a_is: *mut c_void, a: *const c_void, b_is: *mut c_void, b: *const c_void,
        convolution: sys::cudnnConvolutionDescriptor_t, algorithm: c_int, workspace: *mut c_void, bytes: usize, beta: *const f32,
        result_is: *mut c_void, result: *mut c_void
    );
    fn cudnnConvolutionBackwardData(
        handle: sys::cudnnHandle_t, alpha: *const f32, a_is: *mut c_void, a: *const c_void, b_is: *mut c_void, b: *const c_void,
        convolution: sys::cudnnConvolutionDescriptor_t, algorithm: c_int, workspace: *mut c_void, bytes: usize, beta: *const f32,
        result_is: *mut c_void, result: *mut c_void
    );
    fn cudnnConvolutionBackwardFilter(
        handle: sys::cudnnHandle_t, alpha: *const f32, a_is: *mut c_void, a: *const c_void, b_is: *mut c_void, b: *const c_void,
        convolution: sys::cudnnConvolutionDescriptor_t, algorithm: c_int, workspace: *mut c_void, bytes: usize, beta: *const f32,
        result_is: *mut c_void, result: *mut c_void
    );
}

/// `cudnnConvolution*AlgoPerf_t`, the same for all three passes, with numbers in place of enumerations that may grow.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Try {
    algorithm: c_int,
    status: c_int,
    milliseconds: f32,
    workspace: usize,
    determinism: c_int,
    math: c_int,
    reserved: [c_int; 3],
}

/// cuDNN on a GPU.
pub struct Cudnn {
    driver: GpuDriver,
    handle: sys::cudnnHandle_t,
}

/// A convolution, or one of its gradients, by the algorithm that was fastest.
pub struct Fastest {
    /// cuDNN's number of it, among those of its pass.
    pub algorithm: i32,
    pub seconds: Vec<f64>,
    pub result: Vec<u8>,
}

/// What one pass of a convolution looks like to cuDNN.
struct Described {
    x: sys::cudnnTensorDescriptor_t,
    w: sys::cudnnFilterDescriptor_t,
    y: sys::cudnnTensorDescriptor_t,
    convolution: sys::cudnnConvolutionDescriptor_t,
}

impl Described {
    fn new(sizes: &Conv2d, number: Number) -> Answer<Self> {
        use sys::cudnnDataType_t as D;
        let numbers = match number {
            Number::F32 | Number::Tf32 | Number::Int8 => D::CUDNN_DATA_FLOAT,
            Number::Bf16 => D::CUDNN_DATA_BFLOAT16,
            Number::F16 => D::CUDNN_DATA_HALF,
        };
        let math = match number {
            Number::F32 => sys::cudnnMathType_t::CUDNN_FMA_MATH,
            _ => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
        };
        let nhwc = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
        let Conv2d { n, h, w, c, k, r, s, stride_h, stride_w, pad_h, pad_w, oh, ow } = *sizes;
        let [n, h, w, c, k, r, s, oh, ow] = [n, h, w, c, k, r, s, oh, ow].map(|v| v as c_int);
        let [stride_h, stride_w, pad_h, pad_w] = [stride_h, stride_w, pad_h, pad_w].map(|v| v as c_int);
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        let mut d = Described { x: null_mut(), w: null_mut(), y: null_mut(), convolution: null_mut() };
        // SAFETY: each descriptor is made before it is filled, and destroyed with `d`, whatever fails.
        unsafe {
            d.x = got(null_mut(), |p| cudnnCreateTensorDescriptor(p))?;
            d.y = got(null_mut(), |p| cudnnCreateTensorDescriptor(p))?;
            d.w = got(null_mut(), |p| cudnnCreateFilterDescriptor(p))?;
            d.convolution = got(null_mut(), |p| cudnnCreateConvolutionDescriptor(p))?;
            cudnnSetTensor4dDescriptor(d.x, nhwc, numbers, n, c, h, w)?;
            cudnnSetTensor4dDescriptor(d.y, nhwc, numbers, n, k, oh, ow)?;
            cudnnSetFilter4dDescriptor(d.w, numbers, nhwc, k, c, r, s)?;
            let sums = D::CUDNN_DATA_FLOAT;
            cudnnSetConvolution2dDescriptor(d.convolution, pad_h, pad_w, stride_h, stride_w, 1, 1, mode, sums)?;
            cudnnSetConvolutionMathType(d.convolution, math)?;
        }
        Ok(d)
    }
}

impl Drop for Described {
    fn drop(&mut self) {
        // SAFETY: made in `new`, where they are not null, and used no more.
        unsafe {
            for tensor in [self.x, self.y].into_iter().filter(|t| !t.is_null()) {
                let _ = cudnnDestroyTensorDescriptor(tensor);
            }
            if !self.w.is_null() {
                let _ = cudnnDestroyFilterDescriptor(self.w);
            }
            if !self.convolution.is_null() {
                let _ = cudnnDestroyConvolutionDescriptor(self.convolution);
            }
        }
    }
}

/// The status codes are cuDNN's own.
fn failed(doing: &str, fault: Fault) -> Error {
    let text = match fault {
        Fault::Missing(name) => format!("the library has no {name}: install cuDNN 9"),
        Fault::Code(code) => {
            type F = unsafe extern "C" fn(u32) -> *const c_char;
            // SAFETY: of this type in NVIDIA's header, but for the argument, which is an int there; it answers a text for any number.
            let text = unsafe {
                let explain = sys::culib().get::<F>(b"cudnnGetErrorString");
                explain.ok().map(|f| f(code)).filter(|t| !t.is_null()).map(|t| CStr::from_ptr(t).to_string_lossy())
            };
            text.map_or_else(|| format!("status {code}"), |text| text.into_owned())
        }
    };
    Error::Device(format!("cuDNN: {doing}: {text}"))
}

impl Cudnn {
    /// On `cuda:index`. Errors: no such library, those of [`GpuDriver::open`], or cuDNN's own.
    pub fn open(index: usize) -> Result<Self> {
        let driver = GpuDriver::open(index)?;
        // SAFETY: only looks for the library and opens it, as every later call would.
        if !unsafe { sys::is_culib_present() } {
            device_error!(
                "no cuDNN here (libcudnn was not found): install cuDNN 9, for instance from PyPI (nvidia-cudnn-cu12), and put its \
                 folder on LD_LIBRARY_PATH"
            );
        }
        // SAFETY: destroyed with `self`; the stream lives as long as the driver.
        let handle = unsafe { got(null_mut(), |h| cudnnCreate(h)) }.map_err(|e| failed("starting", e))?;
        let stream = driver.stream.cast();
        let opened = Cudnn { driver, handle };
        // SAFETY: as above.
        unsafe { cudnnSetStream(handle, stream) }.map_err(|e| failed("choosing its stream", e))?;
        Ok(opened)
    }

    /// Computes a pass of a convolution of its operands, in the order of the op's inputs, by what is fastest on this card.
    pub fn fastest(
        &mut self,
        pass: Pass,
        sizes: &Conv2d,
        number: Number,
        operands: [&[u8]; 2],
        repetitions: usize,
    ) -> Result<Fastest> {
        let described = Described::new(sizes, number).map_err(|e| failed("describing a convolution", e))?;
        let [x, y, w] = [sizes.input(), sizes.output(), sizes.weights()].map(|s| s.len() * number.storage().size());
        let result = match pass {
            Pass::Forward => y,
            Pass::InputGradient | Pass::Transposed => x,
            Pass::WeightGradient => w,
        };
        let mut at = [0; 3];
        for (at, bytes) in at.iter_mut().zip([operands[0].len(), operands[1].len(), result]) {
            *at = self.driver.alloc(bytes)?;
        }
        let (free, _) = self.driver.memory()?;
        let workspace = (self.driver.alloc(WORKSPACE.min(free / 4))?, WORKSPACE.min(free / 4));
        for (at, bytes) in at.iter().zip(operands) {
            self.driver.write(*at, bytes)?;
        }
        self.driver.synchronize()?;
        let call = Call { handle: self.handle, pass, described: &described, at, workspace };
        let tries = call.find().map_err(|e| failed("looking for an algorithm", e))?;
        let mut best: Option<Fastest> = None;
        // An algorithm is there once for each kind of arithmetic: ours is what the descriptor says.
        let mut usable: Vec<c_int> = Vec::new();
        for t in tries.iter().filter(|t| t.status == 0 && (number != Number::F32 || t.math == FMA)) {
            if !usable.contains(&t.algorithm) {
                usable.push(t.algorithm);
            }
        }
        for algorithm in usable.into_iter().take(TIMED) {
            // NaN in every kind of number: this memory was ours before, and may hold the right result already.
            self.driver.write(at[2], &vec![0xff; result])?;
            self.driver.synchronize()?;
            let mut submit = |_: &mut GpuDriver| call.submit(algorithm).map_err(|e| failed("convolving", e));
            // Some cannot be captured, or want other memory than they said.
            let Ok(seconds) = self.driver.seconds(&mut submit, repetitions) else { continue };
            let median = |s: &[f64]| s.get(s.len() / 2).copied().unwrap_or(f64::INFINITY);
            let mut sorted = seconds;
            sorted.sort_by(f64::total_cmp);
            if best.as_ref().is_none_or(|b| median(&sorted) < median(&b.seconds)) {
                let mut result = vec![0; result];
                self.driver.read(at[2], &mut result)?;
                best = Some(Fastest { algorithm, seconds: sorted, result });
            }
        }
        best.ok_or_else(|| Error::Device(format!("cuDNN: no algorithm computes {sizes:?} in {number}")))
    }
}

impl Drop for Cudnn {
    fn drop(&mut self) {
        let _ = self.driver.synchronize();
        // SAFETY: made in `open`; nothing of it is on its way.
        let _ = unsafe { cudnnDestroy(self.handle) };
    }
}

/// One pass with its memory on the device: the two operands, the result, and work space with its bytes.
struct Call<'a> {
    handle: sys::cudnnHandle_t,
    pass: Pass,
    described: &'a Described,
    at: [u64; 3],
    workspace: (u64, usize),
}

impl Call<'_> {
    /// Both operands in the order of cuDNN's functions, and the result: what each is and where.
    fn operands(&self) -> [(*mut c_void, *mut c_void); 3] {
        let [x, w, y] = [self.described.x.cast(), self.described.w.cast(), self.described.y.cast()];
        let [a, b, result] = self.at.map(|at| at as *mut c_void);
        match self.pass {
            Pass::Forward => [(x, a), (w, b), (y, result)],
            // Its inputs are dy and w, here the other way round.
            Pass::InputGradient | Pass::Transposed => [(w, b), (y, a), (x, result)],
            Pass::WeightGradient => [(x, a), (y, b), (w, result)],
        }
    }

    /// What there is, fastest first, as cuDNN measures it; what fails has a status.
    fn find(&self) -> Answer<Vec<Try>> {
        let find = match self.pass {
            Pass::Forward => cudnnFindConvolutionForwardAlgorithmEx,
            Pass::InputGradient | Pass::Transposed => cudnnFindConvolutionBackwardDataAlgorithmEx,
            Pass::WeightGradient => cudnnFindConvolutionBackwardFilterAlgorithmEx,
        };
        let (mut tries, mut found) = ([Try::default(); ASKED], 0);
        let [(a_is, a), (b_is, b), (result_is, result)] = self.operands();
        let (convolution, (workspace, bytes)) = (self.described.convolution, self.workspace);
        let (asked, into, workspace) = (ASKED as c_int, tries.as_mut_ptr(), workspace as *mut c_void);
        // SAFETY: the memory is as large as the descriptors say; there is room for as many tries as are asked for.
        unsafe {
            find(
                self.handle,
                a_is,
                a,
                b_is,
                b,
                convolution,
                result_is,
                result,
                asked,
                &mut found,
                into,
                workspace,
                bytes,
            )
        }?;
        Ok(tries.into_iter().take(found.max(0) as usize).collect())
    }

    fn submit(&self, algorithm: c_int) -> Answer {
        let convolve = match self.pass {
            Pass::Forward => cudnnConvolutionForward,
            Pass::InputGradient | Pass::Transposed => cudnnConvolutionBackwardData,
            Pass::WeightGradient => cudnnConvolutionBackwardFilter,
        };
        let [(a_is, a), (b_is, b), (result_is, result)] = self.operands();
        let (convolution, (workspace, bytes)) = (self.described.convolution, self.workspace);
        let (one, zero, workspace) = (&1.0, &0.0, workspace as *mut c_void);
        // SAFETY: as in `find`.
        unsafe {
            convolve(
                self.handle,
                one,
                a_is,
                a,
                b_is,
                b,
                convolution,
                algorithm,
                workspace,
                bytes,
                zero,
                result_is,
                result,
            )
        }
    }
}
