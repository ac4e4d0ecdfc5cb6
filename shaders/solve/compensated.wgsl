// Sums of twice the digits: a pair is a value and what its rounding left, both of the kernel's own precision.

// Knuth's TwoSum: a + b exactly, as a value and its rounding error.
fn two_sum(a: f32, b: f32) -> vec2<f32> {
    let sum = a + b;
    let of_b = sum - a;
    return vec2(sum, (a - (sum - of_b)) + (b - of_b));
}

// The sum of two pairs.
fn add_pairs(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    let sum = two_sum(a.x, b.x);
    return two_sum(sum.x, sum.y + (a.y + b.y));
}
