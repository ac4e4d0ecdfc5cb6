// Numbers as the sum of two f32, `x` the rounded sum and `y` what rounding left: 48 bits and the range of f32, on devices
// without f64 (T. J. Dekker, "A floating-point technique for extending the available precision", 1971; Joldes, Muller and
// Popescu, "Tight and rigorous error bounds for basic building blocks of double-word arithmetic", 2017).
//
// Drivers treat floats as real numbers and would simplify (a + b) - a to b, which is what errors are computed from; Mesa does. So
// every sum whose rounding matters passes through an integer that the compiler cannot know: `nothing` is 0, one less than the layers
// of a dispatch. (Mesa makes kernels anew for the values of uniforms that loops and branches depend on, so a uniform is known.)
alias Real = vec2<f32>;

var<private> nothing: u32;

// The first statement of every kernel.
fn begin(groups: vec3<u32>) {
    nothing = groups.z - 1u;
}

fn opaque(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) ^ nothing);
}

// The sum of a and b where |a| ≥ |b|.
fn quick_two_sum(a: f32, b: f32) -> Real {
    let sum = opaque(a + b);
    return Real(sum, b - opaque(sum - a));
}

fn two_sum(a: f32, b: f32) -> Real {
    let sum = opaque(a + b);
    let of_b = opaque(sum - a);
    let of_a = opaque(sum - of_b);
    return Real(sum, opaque(a - of_a) + opaque(b - of_b));
}

// The leading 12 of the 24 bits: the products of such halves are exact, fused or not.
fn leading(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) & 0xfffff000u);
}

fn two_product(a: f32, b: f32) -> Real {
    let product = opaque(a * b);
    let a0 = leading(a);
    let b0 = leading(b);
    let a1 = a - a0;
    let b1 = b - b0;
    let first = opaque(a0 * b0 - product);
    let second = opaque(first + a0 * b1);
    return Real(product, opaque(second + a1 * b0) + a1 * b1);
}

fn real(x: f32) -> Real {
    return Real(x, 0.0);
}

fn add(a: Real, b: Real) -> Real {
    let high = two_sum(a.x, b.x);
    let low = two_sum(a.y, b.y);
    let sum = quick_two_sum(high.x, high.y + low.x);
    return quick_two_sum(sum.x, low.y + sum.y);
}

fn negative(a: Real) -> Real {
    return -a;
}

fn subtract(a: Real, b: Real) -> Real {
    return add(a, -b);
}

fn multiply(a: Real, b: Real) -> Real {
    let high = two_product(a.x, b.x);
    return quick_two_sum(high.x, high.y + (a.x * b.y + a.y * b.x));
}

// Long division by the leading word: each quotient brings the bits of one f32.
fn divide(a: Real, b: Real) -> Real {
    let first = a.x / b.x;
    var rest = subtract(a, multiply(b, real(first)));
    let second = rest.x / b.x;
    rest = subtract(rest, multiply(b, real(second)));
    return add(quick_two_sum(first, second), real(rest.x / b.x));
}

// A step of Newton's method from the root of the leading word; 0 below 0.
fn square_root(a: Real) -> Real {
    if (a.x <= 0.0) {
        return real(0.0);
    }
    let root = sqrt(a.x);
    let rest = subtract(a, two_product(root, root));
    return quick_two_sum(root, rest.x / (2.0 * root));
}

fn is_at_most(a: Real, b: Real) -> bool {
    return a.x < b.x || (a.x == b.x && a.y <= b.y);
}
