//! Fresh parameters, each a function of the seed and its own full name: adding a layer changes no other layer's values.

use super::TensorSource;
use crate::Result;
use crate::engine::hash::fnv1a;
use crate::engine::params::{Init, Parameters, Values};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal, Uniform};
use std::borrow::Cow;
use std::sync::Arc;

/// A generator whose stream depends on the seed and on `name` alone.
pub fn named_rng(seed: u64, name: &str) -> ChaCha8Rng {
    // FNV-1a spreads names; ChaCha does the rest.
    let mut key = [0u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&fnv1a(name).to_le_bytes());
    ChaCha8Rng::from_seed(key)
}

/// Draws every parameter of a network as its layers declare.
pub fn network(parameters: &Parameters, seed: u64) -> Values<f32> {
    let mut values = Values::zeros(Arc::new(parameters.clone()));
    for e in parameters.entries() {
        let mut rng = named_rng(seed, &format!("{}.{}", parameters.network, e.name));
        let out = &mut values.data[e.range.clone()];
        match e.init {
            Init::Zeros => {}
            Init::Ones => out.fill(1.0),
            Init::Normal(std) => {
                out.fill_with(|| (std * Distribution::<f64>::sample(&StandardNormal, &mut rng)) as f32)
            }
            Init::Uniform(bound) => {
                let u = Uniform::new(-bound, bound).expect("bounds are finite and in order");
                out.fill_with(|| u.sample(&mut rng) as f32)
            }
        }
    }
    values
}

/// A backbone that was never trained: Kaiming-normal convolutions, identity batch norms. For demonstrations.
pub struct RandomBackbone {
    pub seed: u64,
}

impl TensorSource for RandomBackbone {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Cow<'_, [f32]>> {
        let len = shape.iter().product();
        if let [out, _, kh, kw] = *shape {
            let std = (2.0 / (out * kh * kw) as f64).sqrt();
            let mut rng = named_rng(self.seed, name);
            return Ok((0..len)
                .map(|_| (std * Distribution::<f64>::sample(&StandardNormal, &mut rng)) as f32)
                .collect::<Vec<f32>>()
                .into());
        }
        let value = if name.ends_with("weight") || name.ends_with("running_var") { 1.0 } else { 0.0 };
        Ok(vec![value; len].into())
    }

    fn names(&self) -> Vec<&str> {
        vec![]
    }

    fn describe(&self) -> String {
        format!("random, seed {}", self.seed)
    }
}
