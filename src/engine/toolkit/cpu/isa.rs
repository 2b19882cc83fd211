//! Code compiled for several instruction sets, of which the running machine's widest is taken.

use std::sync::LazyLock;

/// Instruction sets as far as the kernels care, each with all that the ones before it have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    Portable,
    Avx2,
    Avx512,
}

/// The widest there is on this machine. Asked once: some loops that are told of it are short.
static WIDEST: LazyLock<Isa> = LazyLock::new(Isa::look);

impl Isa {
    #[inline]
    pub fn detect() -> Isa {
        *WIDEST
    }

    fn look() -> Isa {
        #[cfg(target_arch = "x86_64")]
        {
            // What `vectorised` enables for each.
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if avx2 {
                return if avx512 { Isa::Avx512 } else { Isa::Avx2 };
            }
        }
        Isa::Portable
    }

    /// True if this machine can run code for `self`.
    #[inline]
    pub fn available(self) -> bool {
        self <= Isa::detect()
    }
}

/// A loop that profits from wide registers. `run` must be `#[inline(always)]`, then it is compiled once per [`Isa`].
pub trait Vectorised {
    type Output;
    /// `FUSED`: there is an instruction for a product and a sum in one, see [`Real::mul_add`](crate::engine::real::Real).
    fn run<const FUSED: bool>(self) -> Self::Output;
}

/// `FnMut`: what calls a closure once, by value, is a function of its own that nothing makes the compiler inline.
impl<R, F: FnMut() -> R> Vectorised for F {
    type Output = R;

    #[inline(always)]
    fn run<const FUSED: bool>(mut self) -> R {
        self()
    }
}

/// An expression, compiled for the widest registers of this machine as far as what it calls is inlined into it.
/// `wide!(FUSED => ...)` names the constant that says whether a product and a sum are one instruction there, and owns the slices
/// that the expression names: their lengths, behind a reference, could change under the compiler's eyes, which keeps loops over
/// several of them from being vectorised.
macro_rules! wide {
    ($fused:ident => $job:expr) => {{
        use $crate::engine::toolkit::cpu::isa::{Isa, vectorised};
        match Isa::detect() {
            Isa::Portable => {
                const $fused: bool = false;
                $job
            }
            isa => vectorised(
                isa,
                #[inline(always)]
                move || {
                    const $fused: bool = true;
                    $job
                },
            ),
        }
    }};
    ($job:expr) => {{
        use $crate::engine::toolkit::cpu::isa::{Isa, vectorised};
        vectorised(
            Isa::detect(),
            #[inline(always)]
            || $job,
        )
    }};
}
pub(crate) use wide;

/// Runs `job` compiled for `isa`.
#[inline]
pub fn vectorised<J: Vectorised>(isa: Isa, job: J) -> J::Output {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")]
        fn avx512<J: Vectorised>(job: J) -> J::Output {
            job.run::<true>()
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2<J: Vectorised>(job: J) -> J::Output {
            job.run::<true>()
        }
        match isa {
            // SAFETY: an `Isa` other than `Portable` is only used on machines that have it (asserted here).
            Isa::Avx512 if isa.available() => return unsafe { avx512(job) },
            // SAFETY: as above.
            Isa::Avx2 if isa.available() => return unsafe { avx2(job) },
            _ => {}
        }
    }
    let _ = isa;
    job.run::<false>()
}
