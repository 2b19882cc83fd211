//! What is answered to a request for inference: outputs as JSON, or as bytes behind it.

use super::super::errors::{Refusal, cut};
use super::super::models::Model;
use super::super::picture::Done;
use super::request::{Inference, SAID, Wanted};
use super::{HEADER_LENGTH, VERSION};
use crate::score::verdict::{Judge, Verdict};
use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    Score,
    Normalized,
    Anomalous,
    Map,
    Regions,
}

impl Output {
    const ALL: [Output; 5] = [Output::Score, Output::Normalized, Output::Anomalous, Output::Map, Output::Regions];

    /// Those that a model has.
    pub fn of_model(model: &Model) -> impl Iterator<Item = Output> {
        let judge = Judge::new(&model.config, None, None);
        Self::ALL.into_iter().filter(move |output| match output {
            Output::Score | Output::Map => true,
            Output::Normalized => judge.normalization.is_some(),
            Output::Anomalous => judge.threshold.is_some(),
            Output::Regions => judge.pixel_threshold.is_some(),
        })
    }

    /// Those that are answered where nothing is asked for: all that is short.
    fn by_default(self) -> bool {
        !matches!(self, Output::Map | Output::Regions)
    }

    pub fn name(self) -> &'static str {
        match self {
            Output::Score => "score",
            Output::Normalized => "score_normalized",
            Output::Anomalous => "anomalous",
            Output::Map => "map",
            Output::Regions => "regions",
        }
    }

    pub fn datatype(self) -> &'static str {
        match self {
            Output::Score | Output::Normalized => "FP64",
            Output::Anomalous => "BOOL",
            Output::Map => "FP32",
            Output::Regions => "BYTES",
        }
    }

    pub fn shape(self) -> &'static [i64] {
        if self == Output::Map { &[-1, -1, -1] } else { &[-1] }
    }
}

/// Outputs as they were asked for, each with whether it is to be sent as bytes.
pub fn chosen(model: &Model, request: &Inference) -> Result<Vec<(Output, bool)>, Refusal> {
    let all: Vec<Output> = Output::of_model(model).collect();
    if request.outputs.is_empty() {
        return Ok(all.into_iter().filter(|o| o.by_default()).map(|o| (o, request.binary(None))).collect());
    }
    let one = |wanted: &Wanted| match all.iter().find(|o| o.name() == wanted.name) {
        Some(output) => Ok((*output, request.binary(Some(wanted)))),
        None => {
            let names: Vec<&str> = all.iter().map(|o| o.name()).collect();
            Err(Refusal::bad(format!("output {:?}: this model has {}", cut(&wanted.name, SAID), names.join(", "))))
        }
    };
    request.outputs.iter().map(one).collect()
}

/// The values of an output, in either form.
fn values(output: Output, done: &[Done], verdicts: &[Verdict], binary: bool) -> Result<(Value, Vec<u8>), Refusal> {
    let floats = |values: Vec<f64>| match binary {
        true => (Value::Null, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        false => (json!(values), vec![]),
    };
    Ok(match output {
        Output::Score => floats(verdicts.iter().map(|v| v.score).collect()),
        Output::Normalized => floats(verdicts.iter().filter_map(|v| v.score_normalized).collect()),
        Output::Anomalous => {
            let values: Vec<bool> = verdicts.iter().filter_map(|v| v.anomalous).collect();
            if binary { (Value::Null, values.into_iter().map(u8::from).collect()) } else { (json!(values), vec![]) }
        }
        Output::Map => {
            let maps = done.iter().flat_map(|d| &d.scored.map.values);
            match binary {
                true => (Value::Null, maps.flat_map(|v| v.to_le_bytes()).collect()),
                false => (json!(maps.collect::<Vec<_>>()), vec![]),
            }
        }
        Output::Regions => {
            // By way of a value, which has the digits that `ckaad score` prints.
            let texts: Vec<String> = verdicts.iter().map(|v| json!(v.regions).to_string()).collect();
            match binary {
                true => (Value::Null, texts.iter().flat_map(|t| element(t)).collect()),
                false => (json!(texts), vec![]),
            }
        }
    })
}

/// A text behind its length.
fn element(text: &str) -> impl Iterator<Item = u8> {
    (text.len() as u32).to_le_bytes().into_iter().chain(text.bytes())
}

/// Width and height of the maps, which one tensor can only hold if they are the same.
fn map_size(done: &[Done]) -> Result<(usize, usize), Refusal> {
    let mut sizes = done.iter().map(|d| d.scored.map.shape());
    let first = sizes.next().unwrap_or_default();
    match sizes.find(|size| *size != first) {
        Some(other) => Err(Refusal::bad(format!(
            "output \"map\": maps of {} x {} and {} x {} do not fit into one tensor; send pictures of one size in a request",
            first.0, first.1, other.0, other.1
        ))),
        None => Ok(first),
    }
}

/// The answer to a request whose pictures were all scored.
pub fn answer(model: &Model, id: Option<&str>, chosen: &[(Output, bool)], done: &[Done]) -> Result<Response, Refusal> {
    let judge = Judge::new(&model.config, None, None);
    let verdicts: Vec<Verdict> = done.iter().map(|d| d.verdict(&judge)).collect();
    let (mut outputs, mut bytes) = (Vec::new(), Vec::new());
    for &(output, binary) in chosen {
        let shape = match output {
            Output::Map => {
                let (width, height) = map_size(done)?;
                vec![done.len(), height, width]
            }
            _ => vec![done.len()],
        };
        let (data, raw) = values(output, done, &verdicts, binary)?;
        let mut told = json!({ "name": output.name(), "datatype": output.datatype(), "shape": shape });
        match binary {
            true => told["parameters"] = json!({ "binary_data_size": raw.len() }),
            false => told["data"] = data,
        }
        outputs.push(told);
        bytes.extend(raw);
    }
    let mut head = json!({ "model_name": model.name, "model_version": VERSION, "outputs": outputs });
    if let Some(id) = id {
        head["id"] = id.into();
    }
    if chosen.iter().all(|(_, binary)| !binary) {
        return Ok(Json(head).into_response());
    }
    let mut body = head.to_string().into_bytes();
    let length = body.len().to_string();
    body.extend(bytes);
    let headers = [(header::CONTENT_TYPE.as_str(), "application/octet-stream"), (HEADER_LENGTH, &length)];
    Ok((headers, body).into_response())
}
