//! JPEG through libjpeg-turbo's own code, which Pillow uses, too: other decoders round differently, by up to four levels,
//! which moves scores by up to a percent.
//!
//! libjpeg goes on past damaged data, fills in gray and counts warnings: a score of that would be a wrong score. Here such
//! a picture is an error, but for warnings that are known to harm no pixel.

use std::cell::RefCell;
use std::mem;
use std::os::raw::c_int;

use image::RgbImage;
use mozjpeg::{ColorSpace, Decompress};
use mozjpeg_sys as sys;

use crate::error::{Error, Result};
use crate::invalid;

/// Warnings of the decoding that goes on in this thread: their code and text.
type Warnings = Vec<(c_int, String)>;

thread_local! {
    static WARNINGS: RefCell<Warnings> = const { RefCell::new(Vec::new()) };
}

/// Bytes between markers, odd headers and profiles: every pixel is there.
const HARMLESS: [c_int; 5] = [
    sys::JWRN_ADOBE_XFORM as c_int,
    sys::JWRN_BOGUS_ICC as c_int,
    sys::JWRN_EXTRANEOUS_DATA as c_int,
    sys::JWRN_JFIF_MAJOR as c_int,
    sys::JWRN_TOO_MUCH_DATA as c_int,
];

/// Decodes a file of at most `max_pixels`. Fatal errors come as panics: call it guarded.
pub fn decode(bytes: &[u8], max_pixels: u64) -> Result<(RgbImage, Vec<String>)> {
    WARNINGS.take();
    let damaged = |e: std::io::Error| Error::Invalid(format!("damaged: {e}"));
    let jpeg = Decompress::builder().with_err(error_manager()).with_markers(&[mozjpeg::Marker::APP(14)]);
    let jpeg = jpeg.from_mem(bytes).map_err(damaged)?;
    let (width, height) = (jpeg.width(), jpeg.height());
    super::expect_size(width as u64, height as u64, max_pixels)?;
    let cmyk = matches!(jpeg.color_space(), ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK);
    // Adobe's programs store ink where there is none.
    let inverted = cmyk && jpeg.markers().any(|m| m.data.starts_with(b"Adobe"));
    let to = if cmyk { ColorSpace::JCS_CMYK } else { ColorSpace::JCS_RGB };
    let mut rows = jpeg.to_colorspace(to).map_err(damaged)?;
    let mut pixels = rows.read_scanlines::<u8>().map_err(damaged)?;
    rows.finish().map_err(damaged)?;
    let mut harmless = Vec::new();
    for (code, text) in WARNINGS.take() {
        if !HARMLESS.contains(&code) {
            invalid!("damaged: {text}");
        }
        harmless.push(text);
    }
    harmless.dedup();
    if cmyk {
        pixels = super::cmyk_to_rgb(&pixels, inverted);
    }
    match RgbImage::from_raw(width as u32, height as u32, pixels) {
        Some(picture) => Ok((picture, harmless)),
        None => Err(Error::Invalid(format!("damaged: fewer pixels than {width} x {height}"))),
    }
}

/// Width and height by the head of a file. Fatal errors come as panics: call it guarded.
pub fn size(bytes: &[u8]) -> Result<(u64, u64)> {
    let jpeg = Decompress::builder().with_err(error_manager()).from_mem(bytes);
    let jpeg = jpeg.map_err(|e| Error::Invalid(format!("damaged: {e}")))?;
    Ok((jpeg.width() as u64, jpeg.height() as u64))
}

/// libjpeg's usual error handling, but for what ends and what is said.
fn error_manager() -> sys::jpeg_error_mgr {
    // SAFETY: all fields of the C structure may be zero; `jpeg_std_error` sets those that must not be.
    unsafe {
        let mut manager: sys::jpeg_error_mgr = mem::zeroed();
        sys::jpeg_std_error(&mut manager);
        manager.error_exit = Some(exit);
        manager.emit_message = Some(warn);
        manager
    }
}

/// Unwinds through libjpeg, as `mozjpeg`'s own handling does; without the panic hook.
extern "C-unwind" fn exit(info: &mut sys::jpeg_common_struct) {
    std::panic::resume_unwind(Box::new(text(info)));
}

/// Levels below 0 are warnings, those above are traces of what goes on.
extern "C-unwind" fn warn(info: &mut sys::jpeg_common_struct, level: c_int) {
    if level >= 0 {
        return;
    }
    let text = text(info);
    // SAFETY: libjpeg sets `err` before it calls anything through it.
    let code = unsafe { (*info.err).msg_code };
    // A broken file gives a warning for every block.
    const ENOUGH: usize = 16;
    WARNINGS.with_borrow_mut(|all| {
        if all.len() < ENOUGH || !HARMLESS.contains(&code) && all.iter().all(|(c, _)| *c != code) {
            all.push((code, text));
        }
    });
}

fn text(info: &mut sys::jpeg_common_struct) -> String {
    let mut buffer = [0u8; 80];
    // SAFETY: `format_message` writes at most the 80 bytes (JMSG_LENGTH_MAX) of its buffer; the binding's type says that it
    // reads them, the pointer is one to memory that may be written.
    unsafe {
        let Some(format) = (*info.err).format_message else { return "the JPEG data cannot be decoded".into() };
        type Write = unsafe extern "C-unwind" fn(&mut sys::jpeg_common_struct, &mut [u8; 80]);
        let write: Write = mem::transmute(format);
        write(info, &mut buffer);
    }
    let length = buffer.iter().position(|&b| b == 0).unwrap_or(buffer.len());
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}
