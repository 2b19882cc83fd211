//! Backbone files whose batch norms are folded into the convolutions: `<convolution>.weight` and `<convolution>.bias`, as
//! `ckaad pretrain` writes them. To readers, which know torchvision's names, they have norms that only add the bias.

use std::borrow::Cow;

/// Every folded file has it, and no other.
pub const BIAS: &str = "conv1.bias";

/// A norm's variance that folds to a factor of 1: with torchvision's epsilon, 1.
const UNIT_VARIANCE: f32 = 1.0 - 1e-5;

/// Torchvision's name of the norm's bias, of the bias of a folded convolution; other names as they are.
pub fn torchvision(name: &str) -> Cow<'_, str> {
    let Some(conv) = name.strip_suffix(".bias") else { return name.into() };
    match conv.rsplit_once('.') {
        Some((block, last)) if last.starts_with("conv") => {
            format!("{block}.{}.bias", last.replace("conv", "bn")).into()
        }
        Some((downsample, "0")) => format!("{downsample}.1.bias").into(),
        None if conv.starts_with("conv") => format!("{}.bias", conv.replace("conv", "bn")).into(),
        _ => name.into(),
    }
}

/// What stands for a tensor of torchvision's in a folded file.
#[derive(Debug, PartialEq)]
pub enum Stored {
    /// The tensor of this name.
    As(String),
    /// Nothing: all its values are this.
    All(f32),
}

/// Where a tensor of torchvision's is in a folded file.
pub fn stored(name: &str) -> Stored {
    let Some((layer, what)) = name.rsplit_once('.') else { return Stored::As(name.to_string()) };
    let conv = match layer.rsplit_once('.') {
        Some((block, last)) if last.starts_with("bn") => format!("{block}.{}", last.replace("bn", "conv")),
        Some((downsample, "1")) if downsample.ends_with("downsample") => format!("{downsample}.0"),
        None if layer.starts_with("bn") => layer.replace("bn", "conv"),
        _ => return Stored::As(name.to_string()),
    };
    match what {
        "bias" => Stored::As(format!("{conv}.bias")),
        "running_mean" => Stored::All(0.0),
        "running_var" => Stored::All(UNIT_VARIANCE),
        _ => Stored::All(1.0),
    }
}

/// Names and shapes of a file's tensors as torchvision has them: those of a folded file with norms for its biases, others as they are.
pub fn unfolded<'a>(tensors: Vec<(&'a str, &'a [usize])>) -> Vec<(String, &'a [usize])> {
    if !tensors.iter().any(|(name, _)| *name == BIAS) {
        return tensors.into_iter().map(|(name, shape)| (name.to_string(), shape)).collect();
    }
    let of_norm = |(name, shape): (&'a str, &'a [usize])| {
        let (name, is_bias) = (torchvision(name).into_owned(), name.ends_with(".bias"));
        let layer = name.strip_suffix(".bias").unwrap_or_default().to_string();
        let others = ["weight", "running_mean", "running_var"].into_iter().filter(move |_| is_bias);
        std::iter::once((name, shape)).chain(others.map(move |what| (format!("{layer}.{what}"), shape)))
    };
    tensors.into_iter().flat_map(of_norm).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every tensor of a ResNet-18 and a ResNet-50 is there, each bias under its norm's name and back.
    #[test]
    fn names_go_both_ways() {
        for name in ["bn1.bias", "layer1.0.bn2.bias", "layer2.0.downsample.1.bias", "layer3.5.bn3.bias"] {
            let Stored::As(folded) = stored(name) else { panic!("{name} is nowhere") };
            assert_ne!(folded, name);
            assert_eq!(torchvision(&folded), name);
        }
        assert_eq!(stored("layer2.0.downsample.1.bias"), Stored::As("layer2.0.downsample.0.bias".into()));
        assert_eq!(stored("layer1.1.conv2.weight"), Stored::As("layer1.1.conv2.weight".into()));
        assert_eq!(stored("layer2.0.downsample.1.weight"), Stored::All(1.0));
        assert_eq!(stored("layer2.0.downsample.0.weight"), Stored::As("layer2.0.downsample.0.weight".into()));
        assert_eq!(torchvision("layer1.0.conv1.weight"), "layer1.0.conv1.weight");
        let Stored::All(variance) = stored("bn1.running_var") else { panic!("it is not kept") };
        assert!((1.0 / (f64::from(variance) + 1e-5).sqrt() - 1.0).abs() < 5e-8);
    }
}
