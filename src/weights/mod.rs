//! Reading pretrained weights and writing model files.
