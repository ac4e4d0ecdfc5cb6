// Numbers as the device has them: with f32 written as f64, those of 64 bits. pair.wgsl has the same functions.
alias Real = f32;

fn begin(groups: vec3<u32>) {}

fn real(x: f32) -> Real {
    return x;
}

fn add(a: Real, b: Real) -> Real {
    return a + b;
}

fn negative(a: Real) -> Real {
    return -a;
}

fn subtract(a: Real, b: Real) -> Real {
    return a - b;
}

fn multiply(a: Real, b: Real) -> Real {
    return a * b;
}

fn divide(a: Real, b: Real) -> Real {
    return a / b;
}

fn square_root(a: Real) -> Real {
    return sqrt(max(a, real(0.0)));
}

fn is_at_most(a: Real, b: Real) -> bool {
    return a <= b;
}
