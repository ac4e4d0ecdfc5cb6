// Adafactor (Shazeer and Stern 2018, algorithm 4), as PyTorch has it: no momentum, steps relative to the norm of θ.
//
// Of a matrix [rows, columns] the state holds the mean squares R of its rows, then C of its columns; V = R·Cᵀ/mean(R)
// stands for each element's own. Of everything else it holds V itself.
fn towards(mean: f32, square: f32) -> f32 {
    return mean + scalar.newest * (square - mean);
}

fn direction(gradient: f32, square: f32) -> f32 {
    return gradient / sqrt(max(square, scalar.least_square));
}

// The rate of a tensor from the root mean squares of its parameters and of its direction.
fn rate(theta: f32, direction: f32) -> f32 {
    return max(scalar.eps2, theta) * scalar.relative_rate / max(1.0, direction / scalar.longest);
}
