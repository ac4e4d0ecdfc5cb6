// The functions that SPIR-V has in 16 and 32 bits only, for f64. `gpu::in_double` appends those that a kernel calls: a
// function is what stands between two empty lines, and calls none that stands below it.
//
// Coefficients and most of the ways are fdlibm's (Sun Microsystems 1993, as in FreeBSD's msun: e_exp.c, s_expm1.c, e_log.c,
// k_sin.c, k_cos.c, s_atan.c, s_erf.c). Two numbers hold a value where one would lose digits; `double_top` keeps the halves
// exact, because compilers may take (a + b) - a for b, and fma is not everywhere one rounding. No function errs by more than
// a few units in the last place; a device may take numbers below 2⁻¹⁰²² for 0.

fn double_is_nan(x: f64) -> bool {
    // By the bits: compilers may assume that comparisons see no NaN.
    return (bitcast<u64>(x) & 0x7ffffffffffffffflu) > 0x7ff0000000000000lu;
}

fn double_is_negative(x: f64) -> bool {
    return (bitcast<u64>(x) >> 63u) != 0lu;
}

// NaN; made of a value, since WGSL has no such constant.
fn double_nan(x: f64) -> f64 {
    return bitcast<f64>(bitcast<u64>(x) | 0x7ff8000000000000lu);
}

// The leading 26 bits: products of two such numbers are exact.
fn double_top(x: f64) -> f64 {
    return bitcast<f64>(bitcast<u64>(x) & 0xfffffffff8000000lu);
}

// A difference without its last bit where `cut`, so that compilers do not add up what is taken off before and behind, as
// NVIDIA's does.
fn double_even(x: f64, cut: bool) -> f64 {
    return select(x, bitcast<f64>(bitcast<u64>(x) & 0xfffffffffffffffelu), cut);
}

// 2^k for -1022 <= k <= 1023.
fn double_power_of_two(k: i32) -> f64 {
    return bitcast<f64>(u64(k + 1023) << 52u);
}

// y·2^k for |k| <= 2000, in two factors: the result may be finite where 2^k is not.
fn double_scaled(y: f64, k: i32) -> f64 {
    let half = k / 2;
    return y * double_power_of_two(half) * double_power_of_two(k - half);
}

// exp(high + low), where low is small beside 1.
fn double_exp_of(high: f64, low: f64) -> f64 {
    // Beyond, the result is 0 or infinite.
    let within = clamp(high, -800.0, 800.0);
    let k = floor(within * 1.4426950408889634 + 0.5);
    let r_high = within - k * 6.93147180369123816490e-01;
    let r_low = k * 1.90821492927058770002e-10 - select(0.0, low, within == high);
    let r = r_high - r_low;
    let s = r * r;
    let c = r - s * (1.66666666666666019037e-01 + s * (-2.77777777770155933842e-03 + s * (6.61375632143793436117e-05
        + s * (-1.65339022054652515390e-06 + s * 4.13813679705723846039e-08))));
    let y = 1.0 + (r * c / (2.0 - c) - r_low + r_high);
    let value = double_scaled(y, i32(k));
    return select(value, double_nan(high), double_is_nan(high));
}

fn double_exp(x: f64) -> f64 {
    return double_exp_of(x, 0.0);
}

fn double_exp2(x: f64) -> f64 {
    let within = clamp(x, -1200.0, 1200.0);
    let k = floor(within + 0.5);
    let value = double_scaled(double_exp_of((within - k) * 0.6931471805599453, 0.0), i32(k));
    return select(value, double_nan(x), double_is_nan(x));
}

// exp(x) - 1 for |x| < 0.35, without cancellation.
fn double_expm1_near_0(x: f64) -> f64 {
    let half = 0.5 * x;
    let s = x * half;
    let r = 1.0 + s * (-3.33333333333331316428e-02 + s * (1.58730158725481460165e-03 + s * (-7.93650757867487942473e-05
        + s * (4.00821782732936239552e-06 + s * -2.01099218183624371326e-07))));
    let t = 3.0 - r * half;
    let e = s * ((r - t) / (6.0 - x * t));
    return x - (x * e - s);
}

// log(x) as a sum of two, the first of at most 26 bits, for finite x > 0.
fn double_log_of(x: f64) -> vec2<f64> {
    let is_small = bitcast<u64>(x) < 0x0010000000000000lu;
    let normal = select(x, x * 18014398509481984.0, is_small);
    // x = m·2^k with m from sqrt(1/2) to sqrt(2).
    let shifted = bitcast<u64>(normal) + 0x00095f6200000000lu;
    let k = f64(i32(shifted >> 52u) - 1023 - select(0, 54, is_small));
    let m = bitcast<f64>((shifted & 0x000ffffffffffffflu) + 0x3fe6a09e00000000lu);
    // s = (m - 1)/(m + 1) as a sum of two; log m = 2 atanh(s).
    let f = m - 1.0;
    let d = double_top(m + 1.0);
    let d_low = m - (d - 1.0);
    let s = f / (m + 1.0);
    let s_high = double_top(s);
    let s_low = ((f - s_high * d) - s_high * d_low) / (m + 1.0);
    let z = s * s;
    let r = z * (6.666666666666735130e-01 + z * (3.999999999940941908e-01 + z * (2.857142874366239149e-01
        + z * (2.222219843214978396e-01 + z * (1.818357216161805012e-01 + z * (1.531383769920937332e-01
        + z * 1.479819860511658591e-01))))));
    // k times the first part of log 2, which has 32 bits, is exact.
    let whole = k * 6.93147180369123816490e-01;
    let high = double_top(whole + 2.0 * s_high);
    let rest = (whole - high) + 2.0 * s_high;
    return vec2<f64>(high, rest + (2.0 * s_low + s * r + k * 1.90821492927058770002e-10));
}

// What a logarithm is outside of 0 < x < infinity, where it is not `inside`.
fn double_log_outside(x: f64, inside: f64) -> f64 {
    var value = inside;
    if (bitcast<u64>(x) == 0x7ff0000000000000lu) { value = x; }
    if (x == 0.0) { value = -1.0 / (x * x); }
    // Below 0 or NaN, by the bits.
    let bits = bitcast<u64>(x);
    if (bits > 0x7ff0000000000000lu && bits != 0x8000000000000000lu) { value = double_nan(x); }
    return value;
}

fn double_log(x: f64) -> f64 {
    let log = double_log_of(x);
    return double_log_outside(x, log.x + log.y);
}

fn double_log2(x: f64) -> f64 {
    // 1/log 2 as a sum of two, the first of 26 bits.
    let log = double_log_of(x);
    let product = log.x * 1.4426950216293335 + (log.x * 1.9259629911266175e-08 + log.y * 1.4426950408889634);
    return double_log_outside(x, product);
}

// x^y; where x < 0, for whole y alone.
fn double_pow(x: f64, y: f64) -> f64 {
    let size = abs(x);
    let log = double_log_of(size);
    let y_high = double_top(y);
    var value = double_exp_of(y_high * log.x, (y - y_high) * log.x + y * log.y);
    let is_end = size == 0.0 || bitcast<u64>(size) == 0x7ff0000000000000lu;
    if (is_end) { value = select(1.0 / size, size, y > 0.0); }
    if (double_is_negative(x)) {
        let is_whole = floor(y) == y;
        let is_odd = is_whole && floor(0.5 * y) != 0.5 * y;
        value = select(value, -value, is_odd);
        if (!is_whole && !is_end) { value = double_nan(x); }
    }
    if (double_is_nan(x)) { value = x; }
    return select(value, 1.0, y == 0.0);
}

// x less the nearest multiple of π/2, and which quarter of the circle that is: exact up to |x| = 10⁸ by Cody and Waite's
// way (Software Manual for the Elementary Functions, 1980), π/2 being four parts, three of them of 27 bits. Beyond, a result
// errs by about |x|·10⁻¹⁶, and from 2⁵⁰ on it is NaN.
fn double_quarter(x: f64) -> vec2<f64> {
    let count = floor(x * 0.6366197723675814 + 0.5);
    // From 1 on the first difference is exact and its last bit 0, for x has none so small; the second is rounded to one more.
    let cut = abs(x) >= 1.0;
    let first = double_even(x - count * 1.570796325802803, cut);
    let second = double_even(first - count * 9.920935739593517e-10, cut);
    let r = (second - count * 5.721188709663575e-18) - count * 1.6446256936324258e-26;
    let known = bitcast<u64>(abs(x)) < 0x4310000000000000lu;
    return vec2<f64>(select(double_nan(x), r, known), count - 4.0 * floor(0.25 * count));
}

fn double_sin_near_0(r: f64) -> f64 {
    let z = r * r;
    let w = z * (8.33333333332248946124e-03 + z * (-1.98412698298579493134e-04 + z * (2.75573137070700676789e-06
        + z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10))));
    return r + z * r * (-1.66666666666666324348e-01 + w);
}

fn double_cos_near_0(r: f64) -> f64 {
    let z = r * r;
    let w = z * (4.16666666666666019037e-02 + z * (-1.38888888888741095749e-03 + z * (2.48015872894767294178e-05
        + z * (-2.75573143513906633035e-07 + z * (2.08757232129817482790e-09 + z * -1.13596475577881948265e-11)))));
    return 1.0 - (0.5 * z - z * w);
}

// The sine of x and of π/2 - x.
fn double_sin_cos(x: f64) -> vec2<f64> {
    let quarter = double_quarter(x);
    let near_0 = vec2<f64>(double_sin_near_0(quarter.x), double_cos_near_0(quarter.x));
    let turned = select(near_0, near_0.yx, quarter.y == 1.0 || quarter.y == 3.0);
    return vec2<f64>(
        select(turned.x, -turned.x, quarter.y >= 2.0),
        select(turned.y, -turned.y, quarter.y == 1.0 || quarter.y == 2.0),
    );
}

fn double_sin(x: f64) -> f64 {
    return double_sin_cos(x).x;
}

fn double_cos(x: f64) -> f64 {
    return double_sin_cos(x).y;
}

fn double_tan(x: f64) -> f64 {
    let both = double_sin_cos(x);
    return both.x / both.y;
}

fn double_atan(x: f64) -> f64 {
    // atan x = atan c + atan((x - c)/(1 + c x)) for the nearest of c = 0, 1/2, 1, 3/2 and infinity.
    let size = abs(x);
    var t = size;
    var high = f64(0.0);
    var low = f64(0.0);
    if (size >= 2.4375) {
        t = -1.0 / size;
        high = 1.57079632679489655800;
        low = 6.12323399573676603587e-17;
    } else if (size >= 1.1875) {
        t = (size - 1.5) / (1.0 + 1.5 * size);
        high = 9.82793723247329054082e-01;
        low = 1.39033110312309984516e-17;
    } else if (size >= 0.6875) {
        t = (size - 1.0) / (size + 1.0);
        high = 7.85398163397448278999e-01;
        low = 3.06161699786838301793e-17;
    } else if (size >= 0.4375) {
        t = (2.0 * size - 1.0) / (2.0 + size);
        high = 4.63647609000806093515e-01;
        low = 2.26987774529616870924e-17;
    }
    let z = t * t;
    let series = z * (3.33333333333329318027e-01 + z * (-1.99999999998764832476e-01 + z * (1.42857142725034663711e-01
        + z * (-1.11111104054623557880e-01 + z * (9.09088713343650656196e-02 + z * (-7.69187620504482999495e-02
        + z * (6.66107313738753120669e-02 + z * (-5.83357013379057348645e-02 + z * (4.97687799461593236017e-02
        + z * (-3.65315727442169155270e-02 + z * 1.62858201153657823623e-02))))))))));
    let value = high - (t * series - low - t);
    return select(select(value, -value, x < 0.0), x, double_is_nan(x));
}

// The angle of the point (x, y).
fn double_atan2(y: f64, x: f64) -> f64 {
    let quotient = select(abs(y / x), 0.0, x == 0.0 && y == 0.0);
    let angle = double_atan(quotient);
    let turned = select(angle, 3.14159265358979311600 - (angle - 1.2246467991473531772e-16), x < 0.0);
    return select(turned, -turned, double_is_negative(y));
}

fn double_asin(x: f64) -> f64 {
    return double_atan2(x, sqrt((1.0 - x) * (1.0 + x)));
}

fn double_acos(x: f64) -> f64 {
    return double_atan2(sqrt((1.0 - x) * (1.0 + x)), x);
}

fn double_sinh(x: f64) -> f64 {
    let near = double_expm1_near_0(x);
    // In two factors, each of which is finite where the result is.
    let root = double_exp(0.5 * abs(x));
    let size = 0.5 * root * root - 0.5 / root / root;
    return select(select(size, -size, x < 0.0), 0.5 * (near + near / (near + 1.0)), abs(x) < 0.35);
}

fn double_cosh(x: f64) -> f64 {
    let root = double_exp(0.5 * abs(x));
    return 0.5 * root * root + 0.5 / root / root;
}

fn double_tanh(x: f64) -> f64 {
    // Of 2|x|: e^(2|x|) - 1, and beyond |x| = 22 the result is 1.
    let twice = 2.0 * min(abs(x), 22.0);
    let t = select(double_exp(twice) - 1.0, double_expm1_near_0(twice), twice < 0.35);
    let value = t / (t + 2.0);
    return select(select(value, -value, x < 0.0), x, double_is_nan(x));
}

fn double_inverseSqrt(x: f64) -> f64 {
    return 1.0 / sqrt(x);
}

fn double_erf(x: f64) -> f64 {
    let size = abs(x);
    var value = f64(1.0);
    if (size < 0.84375) {
        let z = x * x;
        let r = 1.28379167095512558561e-01 + z * (-3.25042107247001499370e-01 + z * (-2.84817495755985104766e-02
            + z * (-5.77027029648944159157e-03 + z * -2.37630166566501626084e-05)));
        let s = 1.0 + z * (3.97917223959155352819e-01 + z * (6.50222499887672944485e-02 + z * (5.08130628187576562776e-03
            + z * (1.32494738004321644526e-04 + z * -3.96022827877536812320e-06))));
        value = size + size * (r / s);
    } else if (size < 1.25) {
        let t = size - 1.0;
        let p = -2.36211856075265944077e-03 + t * (4.14856118683748331666e-01 + t * (-3.72207876035701323847e-01
            + t * (3.18346619901161753674e-01 + t * (-1.10894694282396677476e-01 + t * (3.54783043256182359371e-02
            + t * -2.16637559486879084300e-03)))));
        let q = 1.0 + t * (1.06420880400844228286e-01 + t * (5.40397917702171048937e-01 + t * (7.18286544141962662868e-02
            + t * (1.26171219808761642112e-01 + t * (1.36370839120290507362e-02 + t * 1.19844998467991074170e-02)))));
        value = 8.45062911510467529297e-01 + p / q;
    } else if (size < 6.0) {
        let t = 1.0 / (x * x);
        var quotient = f64(0.0);
        if (size < 2.857142857142857) {
            let r = -9.86494403484714822705e-03 + t * (-6.93858572707181764372e-01 + t * (-1.05586262253232909814e+01
                + t * (-6.23753324503260060396e+01 + t * (-1.62396669462573470355e+02 + t * (-1.84605092906711035994e+02
                + t * (-8.12874355063065934246e+01 + t * -9.81432934416914548592e+00))))));
            let s = 1.0 + t * (1.96512716674392571292e+01 + t * (1.37657754143519042600e+02
                + t * (4.34565877475229228821e+02 + t * (6.45387271733267880336e+02 + t * (4.29008140027567833386e+02
                + t * (1.08635005541779435134e+02 + t * (6.57024977031928170135e+00 + t * -6.04244152148580987438e-02)))))));
            quotient = r / s;
        } else {
            let r = -9.86494292470009928597e-03 + t * (-7.99283237680523006574e-01 + t * (-1.77579549177547519889e+01
                + t * (-1.60636384855821916062e+02 + t * (-6.37566443368389627722e+02 + t * (-1.02509513161107724954e+03
                + t * -4.83519191608651397019e+02)))));
            let s = 1.0 + t * (3.03380607434824582924e+01 + t * (3.25792512996573918826e+02
                + t * (1.53672958608443695994e+03 + t * (3.19985821950859553908e+03 + t * (2.55305040643316442583e+03
                + t * (4.74528541206955367215e+02 + t * -2.24409524465858183362e+01))))));
            quotient = r / s;
        }
        // The complement is at most 0.08 here, so its last digits are not the result's.
        value = 1.0 - double_exp(-x * x - 0.5625 + quotient) / size;
    }
    return select(select(value, -value, x < 0.0), x, double_is_nan(x));
}
