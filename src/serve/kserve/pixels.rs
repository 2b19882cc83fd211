//! What an input's values are: files, or samples of pictures.

use super::super::errors::{Refusal, cut};
use super::super::picture::Given;
use super::request::{Data, IMAGE, Input, SAID};
use crate::data::image::{MAX_PIXELS, Samples};
use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Unexpected, Visitor};
use std::fmt;

/// The pictures of an input; `most` of them at most. Errors name the input, what was expected and what was found.
pub fn pictures(input: Input, most: usize, max_pixels: u64) -> Result<Vec<Given>, Refusal> {
    let name = input.name.clone();
    let pictures = if name == IMAGE { files(input, most) } else { samples(input, most, max_pixels) };
    pictures.map_err(|e| e.within(format!("input {name:?}")))
}

/// So many, none of which would be an answer to nothing.
fn expect_count(count: u64, most: usize) -> Result<usize, Refusal> {
    if count == 0 {
        return Err(Refusal::bad("an empty batch, expected at least one picture"));
    }
    let fits = usize::try_from(count).ok().filter(|count| *count <= most);
    fits.ok_or_else(|| Refusal::too_large(format!("{count} pictures in a request, more than the {most} allowed")))
}

fn files(input: Input, most: usize) -> Result<Vec<Given>, Refusal> {
    let (datatype, shape) = (cut(&input.datatype, SAID), &input.shape);
    if datatype != "BYTES" {
        return Err(Refusal::bad(format!("datatype {datatype}, expected BYTES (files); samples are for \"pixels\"")));
    }
    // [pictures], or [pictures, 1].
    let (&[count] | &[count, 1]) = &shape[..] else {
        return Err(Refusal::bad(format!("shape {shape:?}, expected [pictures]")));
    };
    let count = expect_count(count, most)?;
    let files = match input.data {
        Data::Binary(bytes) => elements(bytes, count)?,
        Data::Json(text) => {
            let texts: Vec<String> = list(&text, count)?;
            let file = |(i, text): (usize, String)| match STANDARD.decode(text) {
                Ok(file) => Ok(file.into()),
                Err(e) => Err(Refusal::bad(format!("element {i}: expected a file in base64: {e}"))),
            };
            texts.into_iter().enumerate().map(file).collect::<Result<Vec<Bytes>, _>>()?
        }
    };
    let found = files.len();
    if found != count {
        return Err(Refusal::bad(format!("{found} elements, expected {count} by shape {shape:?}")));
    }
    Ok(files.into_iter().map(Given::File).collect())
}

/// Each behind its length; no more than `most`.
fn elements(mut bytes: Bytes, most: usize) -> Result<Vec<Bytes>, Refusal> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        if all.len() == most {
            return Err(Refusal::bad(format!("more than the {most} elements of its shape")));
        }
        let broken = || Refusal::bad(format!("element {}: its length leads beyond the data", all.len()));
        let length = *bytes.first_chunk::<4>().ok_or_else(broken)?;
        let rest = bytes.slice(4..);
        let length = u32::from_le_bytes(length) as usize;
        if length > rest.len() {
            return Err(broken());
        }
        all.push(rest.slice(..length));
        bytes = rest.slice(length..);
    }
    Ok(all)
}

fn samples(input: Input, most: usize, max_pixels: u64) -> Result<Vec<Given>, Refusal> {
    let shape = &input.shape;
    let &[count, height, width, channels] = &shape[..] else {
        return Err(Refusal::bad(format!("shape {shape:?}, expected [pictures, height, width, channels]")));
    };
    let count = expect_count(count, most)?;
    if !(1..=4).contains(&channels) {
        let first = (1..=4).contains(&height);
        let hint = if first { ": its channels are first (NCHW), expected last (NHWC); transpose it" } else { "" };
        return Err(Refusal::bad(format!("shape {shape:?}, expected 1 to 4 channels in the last place{hint}")));
    }
    let pixels = height.saturating_mul(width);
    if pixels == 0 {
        return Err(Refusal::bad(format!("shape {shape:?} holds no pixels")));
    }
    if pixels > max_pixels.min(MAX_PIXELS) {
        let most = max_pixels.min(MAX_PIXELS);
        return Err(Refusal::too_large(format!("pictures of {width} x {height} pixels, more than the {most} allowed")));
    }
    // Up to 2^29 each, of which there are no more than the queue has places.
    let each = (pixels * channels) as usize;
    let total = each.checked_mul(count).ok_or_else(|| Refusal::too_large(format!("shape {shape:?} is too large")))?;
    let size = (width as usize, height as usize, channels as usize);
    let given = |samples| Given::Samples { samples, width: size.0, height: size.1, channels: size.2 };
    let split = |all: Vec<Samples>| all.into_iter().map(given).collect();
    match &input.datatype[..] {
        "UINT8" => {
            let all: Vec<u8> = values(input.data, total, |[byte]| byte)?;
            Ok(split(all.chunks_exact(each).map(|p| Samples::Bits8(p.to_vec())).collect()))
        }
        "UINT16" => {
            let all: Vec<u16> = values(input.data, total, u16::from_le_bytes)?;
            Ok(split(all.chunks_exact(each).map(|p| Samples::Bits16(p.to_vec())).collect()))
        }
        "FP32" => {
            let all: Vec<f32> = values(input.data, total, f32::from_le_bytes)?;
            let pictures = all.chunks_exact(each).enumerate();
            let bytes = pictures.map(|(i, p)| to_bytes(p).map_err(|e| e.within(format!("picture {i}"))));
            Ok(split(bytes.collect::<Result<_, _>>()?))
        }
        other => {
            Err(Refusal::bad(format!("datatype {}, expected UINT8, UINT16, or FP32 from 0 to 1", cut(other, SAID))))
        }
    }
}

/// As the Python package takes floats.
fn to_bytes(values: &[f32]) -> Result<Samples, Refusal> {
    if let Some(v) = values.iter().find(|v| !(0.0..=1.0).contains(*v)) {
        return Err(Refusal::bad(format!(
            "holds {v}: expected floats from 0 to 1; give pixels as they are, before any normalisation, or as UINT8"
        )));
    }
    Ok(Samples::Bits8(values.iter().map(|v| (f64::from(*v) * 255.0).round_ties_even() as u8).collect()))
}

/// `count` numbers.
fn values<T: Element, const SIZE: usize>(
    data: Data,
    count: usize,
    of_bytes: impl Fn([u8; SIZE]) -> T,
) -> Result<Vec<T>, Refusal> {
    match data {
        Data::Json(text) => {
            let all: Vec<T> = list(&text, count)?;
            let found = all.len();
            if found != count {
                return Err(Refusal::bad(format!("{found} values, expected {count} by its shape")));
            }
            Ok(all)
        }
        Data::Binary(bytes) => {
            let found = bytes.len();
            if count.checked_mul(SIZE) != Some(found) {
                return Err(Refusal::bad(format!("{found} bytes, expected {count} values of {SIZE} by its shape")));
            }
            Ok(bytes.as_chunks::<SIZE>().0.iter().map(|b| of_bytes(*b)).collect())
        }
    }
}

/// What tensors in JSON are made of.
trait Element: Sized {
    const EXPECTED: &str;

    fn of_integer(_: u64) -> Option<Self> {
        None
    }

    fn of_float(_: f64) -> Option<Self> {
        None
    }

    fn of_text(_: &str) -> Option<Self> {
        None
    }
}

impl Element for u8 {
    const EXPECTED: &str = "a whole number from 0 to 255";

    fn of_integer(v: u64) -> Option<Self> {
        v.try_into().ok()
    }
}

impl Element for u16 {
    const EXPECTED: &str = "a whole number from 0 to 65535";

    fn of_integer(v: u64) -> Option<Self> {
        v.try_into().ok()
    }
}

impl Element for f32 {
    const EXPECTED: &str = "a number";

    fn of_integer(v: u64) -> Option<Self> {
        Some(v as f32)
    }

    fn of_float(v: f64) -> Option<Self> {
        Some(v as f32)
    }
}

impl Element for String {
    const EXPECTED: &str = "a text";

    fn of_text(v: &str) -> Option<Self> {
        Some(v.into())
    }
}

/// The values of a list in JSON, of lists of lists, too; no more than `most`.
fn list<T: Element>(text: &str, most: usize) -> Result<Vec<T>, Refusal> {
    let mut all = Vec::new();
    let mut json = serde_json::Deserializer::from_str(text);
    let read = Flat { all: &mut all, most, inside: false }.deserialize(&mut json);
    read.map_err(|e| Refusal::bad(format!("data: {e}")))?;
    Ok(all)
}

/// A list of values or lists, which are put behind those that are there.
struct Flat<'a, T> {
    all: &'a mut Vec<T>,
    most: usize,
    /// Of a list, where there may be values.
    inside: bool,
}

impl<T: Element> Flat<'_, T> {
    fn push<E: serde::de::Error>(self, value: Option<T>, found: Unexpected) -> Result<(), E> {
        self.all.push(value.filter(|_| self.inside).ok_or_else(|| E::invalid_value(found, &self))?);
        if self.all.len() > self.most {
            return Err(E::custom(format!("more than the {} values of its shape", self.most)));
        }
        Ok(())
    }
}

impl<'de, T: Element> DeserializeSeed<'de> for Flat<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, T: Element> Visitor<'de> for Flat<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(if self.inside { T::EXPECTED } else { "a list" })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Flat { all: &mut *self.all, most: self.most, inside: true })?.is_some() {}
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<(), E> {
        self.push(T::of_integer(v), Unexpected::Unsigned(v))
    }

    fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<(), E> {
        self.push(T::of_float(v as f64), Unexpected::Signed(v))
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<(), E> {
        self.push(T::of_float(v), Unexpected::Float(v))
    }

    fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<(), E> {
        self.push(T::of_text(v), Unexpected::Other("a text"))
    }
}
