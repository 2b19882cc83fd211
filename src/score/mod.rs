//! From a picture to its anomaly map and score.
