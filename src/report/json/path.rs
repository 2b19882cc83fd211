//! Paths in JSON, whatever bytes they are made of.

use bstr::ByteVec;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What is encoded: all but what RFC 3986 never reserves, and slashes.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Puts a path into an object. JSON is UTF-8: of a path that is not, `<key>_bytes` holds every byte, percent-encoded.
pub fn put(object: &mut Value, key: &str, path: &Path) {
    object[key] = path.display().to_string().into();
    if path.to_str().is_none() {
        let bytes = percent_encode(path.as_os_str().as_encoded_bytes(), ENCODED);
        object[format!("{key}_bytes")] = bytes.to_string().into();
    }
}

/// The path that [`put`] wrote as `<key>` and perhaps `<key>_bytes`.
pub fn read(text: &str, bytes: Option<&str>) -> PathBuf {
    let exact = bytes.and_then(|bytes| percent_decode_str(bytes).collect::<Vec<u8>>().into_path_buf().ok());
    exact.unwrap_or_else(|| text.into())
}

/// An object of a path alone.
pub fn object(path: &Path) -> Value {
    let mut object = json!({});
    put(&mut object, "path", path);
    object
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn bytes_only_where_they_say_more() {
        assert_eq!(object(Path::new("ä/%41 \n.png")), json!({"path": "ä/%41 \n.png"}));
        let odd = Path::new(OsStr::from_bytes(b"in/\xff%~ \n.png"));
        // urllib.parse.quote(b"in/\xff%~ \n.png")
        assert_eq!(object(odd), json!({"path": "in/\u{fffd}%~ \n.png", "path_bytes": "in/%FF%25~%20%0A.png"}));
        assert_eq!(read("in/\u{fffd}%~ \n.png", Some("in/%FF%25~%20%0A.png")), odd);
        assert_eq!(read("ä/%41 \n.png", None), Path::new("ä/%41 \n.png"));
    }
}
