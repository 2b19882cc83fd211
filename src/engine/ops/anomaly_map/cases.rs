//! Cases of the anomaly map: upsampling, sum, blur.

use crate::engine::ops::case::Case;

pub fn cases() -> Vec<Case> {
    let case = |name: &str, maps: &[[usize; 4]], size, sigma| {
        Case::new("anomaly_map", name, maps, move |t, v| t.anomaly_map(v, size, sigma)).forward_only().exact()
    };
    let up = |name: &str, maps: &[[usize; 4]], size| case(name, maps, size, 0.0);
    let blur = |name: &str, map: [usize; 4], sigma| case(name, &[map], map[1], sigma);
    vec![
        up("two maps", &[[2, 8, 8, 1], [2, 4, 4, 1]], 32),
        up("not square", &[[1, 3, 5, 1]], 9),
        up("one pixel", &[[2, 1, 1, 1], [2, 2, 2, 1]], 5),
        up("same size", &[[1, 6, 6, 1]], 6),
        up("smaller", &[[1, 7, 7, 1]], 3),
        up("to one pixel", &[[1, 3, 3, 1]], 1),
        up("three maps, wider than a block", &[[1, 9, 9, 1], [1, 5, 5, 1], [1, 3, 3, 1]], 300),
        up("eight maps", &[1, 2, 3, 4, 5, 6, 7, 8].map(|side| [2, side, side, 1]), 11),
        blur("sigma 4", [2, 40, 40, 1], 4.0),
        blur("sigma 0.7, odd", [1, 17, 17, 1], 0.7),
        blur("wider than the map", [1, 5, 5, 1], 4.0),
        blur("one pixel, blurred", [2, 1, 1, 1], 1.0),
        blur("weak", [1, 7, 7, 1], 0.1),
        blur("wider than a block", [1, 270, 270, 1], 1.0),
        blur("largest sigma in one launch", [2, 45, 45, 1], 6.0),
        blur("in two launches", [2, 45, 45, 1], 6.2),
        case("two maps, blurred", &[[2, 8, 8, 1], [2, 4, 4, 1]], 50, 4.0),
        case("two maps, blurred in two launches", &[[2, 8, 8, 1], [2, 4, 4, 1]], 50, 8.0),
        case("eight maps, blurred", &[1, 2, 3, 4, 5, 6, 7, 8].map(|side| [2, side, side, 1]), 35, 2.0),
        blur("largest sigma", [1, 33, 33, 1], 64.0),
    ]
}
