//! How far two samples of points in the plane are apart.

/// Szekely and Rizzo's squared energy distance, 2 E|X - Y| - E|X - X'| - E|Y - Y'| with the Euclidean distance, between two
/// samples as they are (every pair counts, a point with itself, too). At least 0, and 0 only for equal samples; 0 if one is empty.
///
/// On a line its root is `scipy.stats.energy_distance`.
pub fn energy_distance(a: &[[f64; 2]], b: &[[f64; 2]]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }
    2.0 * mean_distance(a, b) - mean_distance(a, a) - mean_distance(b, b)
}

fn mean_distance(a: &[[f64; 2]], b: &[[f64; 2]]) -> f64 {
    let sum: f64 = a.iter().flat_map(|p| b.iter().map(move |q| (p[0] - q[0]).hypot(p[1] - q[1]))).sum();
    sum / (a.len() * b.len()) as f64
}
