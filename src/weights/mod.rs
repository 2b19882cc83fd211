//! Reading pretrained weights (`.pth`, `.safetensors`) and writing model files. Not here: what the tensors mean.
//!
//! [`Archive::open`] maps a file and parses only its index; tensors are read in place when they are asked for.
//! Nothing in a file is executed: a `.pth` goes through the restricted reader in `pickle`.

mod archive;
mod elem;
pub mod fetch;
mod map;
mod pickle;
pub mod registry;
mod safetensors;
mod state_dict;
mod torch_stream;
mod torch_zip;

pub use archive::{Archive, Format, TensorView};
pub use elem::{Elem, Element};
pub use safetensors::{Tensor, write_safetensors};
