//! Builds files in PyTorch's format from before 1.6 by hand, so that tests can put anything into the pickle.

/// Pickles of the magic number, of version 1001 and of an empty dict in place of the system information.
const HEAD: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.";

/// A file with the given tensor pickle (without PROTO and STOP) and one float storage called "0".
pub fn file(pickle: &[u8], storage: &[f32]) -> Vec<u8> {
    let mut bytes = [HEAD, b"\x80\x02", pickle, b".\x80\x02]X\x01\0\0\x000a."].concat();
    bytes.extend((storage.len() as u64).to_le_bytes());
    bytes.extend(storage.iter().flat_map(|x| x.to_le_bytes()));
    bytes
}

/// BININT
pub fn int(x: i32) -> Vec<u8> {
    [b"J", &x.to_le_bytes()[..]].concat()
}

/// BINUNICODE
pub fn text(s: &str) -> Vec<u8> {
    [b"X", &(s.len() as u32).to_le_bytes()[..], s.as_bytes()].concat()
}

fn tuple(items: &[i32]) -> Vec<u8> {
    [b"(".to_vec(), items.iter().flat_map(|&x| int(x)).collect(), b"t".to_vec()].concat()
}

/// A tensor in float storage "0" that claims to have `count` elements; `view` is pickled as the view of it.
pub fn tensor_of(count: i32, view: &[u8], offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        b"ctorch\nFloatStorage\n".to_vec(),
        text("0"),
        text("cpu"),
        int(count),
        view.to_vec(),
        b"tQ".to_vec(),
        int(offset),
        tuple(shape),
        tuple(strides),
        b"\x89NtR".to_vec(),
    ]
    .concat()
}

/// A tensor in float storage "0" of `count` elements.
pub fn tensor(count: i32, offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    tensor_of(count, b"N", offset, shape, strides)
}

/// A dict from names to pickled values.
pub fn dict(items: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let pairs: Vec<u8> = items.iter().flat_map(|(k, v)| [text(k), v.clone()].concat()).collect();
    [b"}(".to_vec(), pairs, b"u".to_vec()].concat()
}
