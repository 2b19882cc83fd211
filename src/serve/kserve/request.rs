//! A request for inference: what its JSON says, and where the bytes of its tensors are.

use super::super::errors::{Refusal, cut};
use super::HEADER_LENGTH;
use axum::body::Bytes;
use axum::http::HeaderMap;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::fmt;

/// The input that takes files.
pub const IMAGE: &str = "image";
/// The input that takes samples.
pub const PIXELS: &str = "pixels";
/// The most numbers of a shape, of which none has more than 4.
const MAX_SHAPE: usize = 8;
/// What is said of a name or a type, in bytes.
pub const SAID: usize = 100;

/// The JSON of a request.
#[derive(Deserialize)]
struct Head<'a> {
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: Vec<HeadInput<'a>>,
    #[serde(default)]
    outputs: Vec<Wanted>,
}

#[derive(Deserialize)]
struct HeadInput<'a> {
    name: String,
    #[serde(deserialize_with = "shape")]
    shape: Vec<u64>,
    datatype: String,
    #[serde(default)]
    parameters: Parameters,
    /// Read once it is known what it is to be: as numbers of JSON it would take thirty times the memory of bytes.
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// A list that is no longer than a shape can be.
fn shape<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
    struct Shape;

    impl<'de> Visitor<'de> for Shape {
        type Value = Vec<u64>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            write!(f, "a shape, a list of up to {MAX_SHAPE} whole numbers")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u64>, A::Error> {
            let mut all = Vec::new();
            while let Some(length) = list.next_element()? {
                if all.len() == MAX_SHAPE {
                    return Err(A::Error::custom(format!("a shape of more than {MAX_SHAPE} numbers")));
                }
                all.push(length);
            }
            Ok(all)
        }
    }

    from.deserialize_seq(Shape)
}

/// An output that is asked for.
#[derive(Deserialize)]
pub struct Wanted {
    pub name: String,
    #[serde(default)]
    parameters: Parameters,
}

/// Those that mean something here. Others are passed over, as the protocol has it.
#[derive(Default, Deserialize)]
struct Parameters {
    binary_data_size: Option<u64>,
    binary_data: Option<bool>,
    binary_data_output: Option<bool>,
    shared_memory_region: Option<String>,
}

/// A request that was understood so far.
pub struct Inference {
    pub id: Option<String>,
    pub input: Input,
    /// Empty: all that there are by default.
    pub outputs: Vec<Wanted>,
    binary_outputs: bool,
}

impl Inference {
    /// Whether an output is to be sent as bytes.
    pub fn binary(&self, wanted: Option<&Wanted>) -> bool {
        wanted.and_then(|w| w.parameters.binary_data).unwrap_or(self.binary_outputs)
    }
}

/// The one input.
pub struct Input {
    pub name: String,
    pub shape: Vec<u64>,
    pub datatype: String,
    pub data: Data,
}

/// A tensor's values.
pub enum Data {
    /// Little-endian, or, of the type BYTES, each behind its length in four bytes.
    Binary(Bytes),
    /// A list in JSON, nested or not.
    Json(String),
}

impl Inference {
    pub fn read(headers: &HeaderMap, body: Bytes) -> Result<Self, Refusal> {
        let length = match headers.get(HEADER_LENGTH) {
            None => body.len(),
            Some(length) => {
                let length = length.to_str().ok().and_then(|text| text.parse::<usize>().ok());
                length.filter(|n| *n <= body.len()).ok_or_else(|| {
                    let found = body.len();
                    Refusal::bad(format!("{HEADER_LENGTH}: expected a number up to the body's length, {found}"))
                })?
            }
        };
        let head: Head = serde_json::from_slice(&body[..length])
            .map_err(|e| Refusal::bad(format!("the request is not what the Open Inference Protocol has: {e}")))?;
        let mut rest = body.slice(length..);
        let mut inputs = Vec::new();
        for input in head.inputs {
            let data = data(&input, &mut rest).map_err(|e| e.within(format!("input {:?}", cut(&input.name, SAID))))?;
            inputs.push(Input { name: input.name, shape: input.shape, datatype: input.datatype, data });
        }
        if !rest.is_empty() {
            let left = rest.len();
            return Err(Refusal::bad(format!("{left} bytes of binary data are left over: no input has them")));
        }
        let mut names = HashSet::new();
        if let Some(twice) = head.outputs.iter().find(|wanted| !names.insert(&wanted.name)) {
            return Err(Refusal::bad(format!("output {:?} is asked for twice", cut(&twice.name, SAID))));
        }
        if let Some(wanted) = head.outputs.iter().find(|wanted| wanted.parameters.shared_memory_region.is_some()) {
            return Err(no_shared_memory().within(format!("output {:?}", cut(&wanted.name, SAID))));
        }
        let found: Vec<String> = inputs.iter().take(4).map(|input| cut(&input.name, SAID).into_owned()).collect();
        match <[Input; 1]>::try_from(inputs) {
            Ok([input]) if [IMAGE, PIXELS].contains(&&input.name[..]) => Ok(Inference {
                id: head.id,
                input,
                outputs: head.outputs,
                binary_outputs: head.parameters.binary_data_output.unwrap_or(false),
            }),
            _ => Err(Refusal::bad(format!(
                "expected one input, \"{IMAGE}\" (files) or \"{PIXELS}\" (samples), found {found:?}"
            ))),
        }
    }
}

fn data(input: &HeadInput, rest: &mut Bytes) -> Result<Data, Refusal> {
    if input.parameters.shared_memory_region.is_some() {
        return Err(no_shared_memory());
    }
    match (input.parameters.binary_data_size, input.data) {
        (Some(_), Some(_)) => Err(Refusal::bad("has both data and binary_data_size, expected one of them")),
        (None, None) => Err(Refusal::bad("has neither data nor binary_data_size")),
        (None, Some(data)) => Ok(Data::Json(data.get().into())),
        (Some(size), None) => match usize::try_from(size).ok().filter(|size| *size <= rest.len()) {
            Some(size) => Ok(Data::Binary(rest.split_to(size))),
            None => {
                let left = rest.len();
                Err(Refusal::bad(format!("binary_data_size {size}, but {left} bytes are left of the body")))
            }
        },
    }
}

fn no_shared_memory() -> Refusal {
    Refusal::bad("shared memory is not served: send the data itself")
}
