//! How good a detector is: ROC, F1, per-region overlap.
