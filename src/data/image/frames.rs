//! How many pictures an animation holds. Only blocks are counted: nothing is decoded for it.

use image::ImageFormat;

/// The frames of a GIF, WebP or PNG; of other formats, and where the file breaks off before the second, 1.
pub fn count(bytes: &[u8], format: ImageFormat) -> usize {
    let frames = match format {
        ImageFormat::Gif => gif(bytes),
        ImageFormat::WebP => webp(bytes),
        ImageFormat::Png => png(bytes),
        _ => 1,
    };
    frames.max(1)
}

/// Warns of all but the first; `what` are frames or pages.
pub fn warning(count: usize, what: &str) -> Option<String> {
    (count > 1).then(|| format!("has {count} {what}; the first is taken"))
}

/// GIF89a, section 17 and on.
fn gif(bytes: &[u8]) -> usize {
    let byte = |at: usize| bytes.get(at).copied().map(usize::from);
    // A table of colours, if the flags say that there is one.
    let table = |flags: usize| if flags & 0x80 != 0 { 6 << (flags & 7) } else { 0 };
    let mut at = 13 + table(byte(10).unwrap_or(0));
    let mut frames = 0;
    while let Some(block) = byte(at) {
        at += match block {
            0x21 => 2,
            0x2C => {
                frames += 1;
                11 + table(byte(at + 9).unwrap_or(0))
            }
            _ => break,
        };
        while let Some(length) = byte(at) {
            at += 1 + length;
            if length == 0 {
                break;
            }
        }
    }
    frames
}

/// RIFF: chunks of a name, a length and as many bytes, to an even length.
fn webp(bytes: &[u8]) -> usize {
    let mut rest = bytes.get(12..).unwrap_or_default();
    let mut frames = 0;
    while let Some((name, after)) = rest.split_first_chunk::<4>()
        && let Some((length, data)) = after.split_first_chunk::<4>()
    {
        frames += usize::from(name == b"ANMF");
        let length = u32::from_le_bytes(*length) as usize;
        rest = data.get(length.saturating_add(length & 1)..).unwrap_or_default();
    }
    frames
}

fn png(bytes: &[u8]) -> usize {
    let reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().ok();
    let animation = reader.and_then(|r| r.info().animation_control);
    animation.map_or(1, |a| a.num_frames as usize)
}
