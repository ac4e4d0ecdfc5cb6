// Nonlinear least squares, one fit an invocation: what src/fit/kernel.rs generates the rest around.
//
// N unknowns; `fits` fits of `points` points each. An invocation keeps the triangle R of the Jacobian's QR and Qᵀr in
// registers while it goes over the points; all else of a fit lies in `state`, fields of [fits] one after the other, so
// that neighbouring invocations read neighbouring numbers. Unknowns are counted in units (`UNIT`), steps and R too.
alias T = f32;

struct Control {
    fits: u32,
    points: u32,
    turns: u32, // steps that a dispatch tries at most
    most: u32, // steps that a fit tries at most
    block: u32, // points of a block, where a fit's points are cut into blocks
    blocks: u32,
}

const RUNNING: u32 = 0u;
const CONVERGED: u32 = 1u;
const MAX_STEPS: u32 = 2u;
const DIVERGED: u32 = 3u;
const STALLED: u32 = 4u;

@group(0) @binding(0) var<uniform> control: Control;
// See SETTINGS below.
@group(0) @binding(1) var<storage, read> settings: array<f32>;
// The columns that all fits share, [points] each, then those of which each fit has its own, [points, fits] each.
@group(0) @binding(2) var<storage, read> columns: array<f32>;
@group(0) @binding(3) var<storage, read_write> state: array<f32>;
// Counts, fields of [fits] too.
@group(0) @binding(4) var<storage, read_write> record: array<u32>;
// Fits that go on after this dispatch.
@group(0) @binding(5) var<storage, read_write> unfinished: atomic<u32>;
// With blocks: R, Qᵀr and the sums of each, PART numbers.
@group(0) @binding(6) var<storage, read_write> parts: array<f32>;

// SETTINGS
const TOLERANCE: u32 = 0u; // of the relative offset
const LOSS_SCALE: u32 = 1u;
const UNIT: u32 = 2u; // [N]
const LOWER: u32 = UNIT + N;
const UPPER: u32 = LOWER + N;

// Fields of `state`.
const THETA: u32 = 0u; // [N], the best so far
const TRIAL: u32 = THETA + N; // [N], where the residuals are computed next
const STEP: u32 = TRIAL + N; // [N], from the one to the other, in units
const SCALE: u32 = STEP + N; // [N], norms of the Jacobian's columns that damping goes by
const FREE: u32 = SCALE + N; // [N], 1, or 0 for an unknown that a bound holds
const ROWS: u32 = FREE + N; // [N, N + 1], R and Qᵀr at THETA
const OBJECTIVE: u32 = ROWS + N * (N + 1u); // what is minimised, at THETA
const OBSERVED: u32 = OBJECTIVE + 1u; // the sum of squares of the left side, each weighed by ρ′
const PREDICTED: u32 = OBSERVED + 1u; // by how much the step makes less of it, were the model linear
const LENGTH: u32 = PREDICTED + 1u; // of the step, scaled
const REACH: u32 = LENGTH + 1u; // λ, the length of steps or a part of them, as the method has it
const GROWTH: u32 = REACH + 1u;
const REFERENCE: u32 = GROWTH + 1u; // what damping is measured by

// Fields of `record`.
const STATUS: u32 = 0u;
const TRIED: u32 = 1u; // evaluations of the residuals
const BLIND: u32 = 2u; // steps in a row whose effect is below rounding

const PART: u32 = N * (N + 1u) + 2u;

// A step is kept where it brings this part of what it promises (MINPACK's lmder).
const LEAST_GAIN: T = 1e-4;
// Rounding of a sum of squares, as multiples of its own: what is below is not seen in it.
const NOISE: T = 8.0;
// Steps below it that are made on trust: some problems close in on their answer no faster than by half a step.
const MOST_BLIND: u32 = 10u;
// Relative offset at which no unknown is further off than a thousandth of its confidence region (Bates and Watts, 1981).
const BATES_WATTS: T = 1e-3;

// The sum of ρ over the points so far, what its roundings lost (Kahan), and the left side's squares by ρ′.
var<private> total: T;
var<private> lost: T;
var<private> observed: T;

// Where a field of a fit lies.
fn field(number: u32, fit: u32) -> u32 {
    return number * control.fits + fit;
}

fn add_to_total(term: T) {
    let whole = term - lost;
    let sum = total + whole;
    lost = (sum - total) - whole;
    total = sum;
}

// What is not seen of a change of the objective: the rounding of its sum, and that of residuals, which are rounded like
// the numbers that they are differences of.
fn noise_of(fit: u32) -> T {
    let objective = state[field(OBJECTIVE, fit)];
    return EPSILON * (NOISE * objective + sqrt(objective) * sqrt(state[field(OBSERVED, fit)]));
}

// Takes the point that was tried as the best one.
fn keep(fit: u32) {
    for (var j = 0u; j < N; j++) {
        state[field(THETA + j, fit)] = state[field(TRIAL + j, fit)];
    }
    keep_rows(fit);
    state[field(OBJECTIVE, fit)] = total;
    state[field(OBSERVED, fit)] = observed;
    for (var j = 0u; j < N; j++) {
        var square = T(0.0);
        for (var k = 0u; k <= j; k++) {
            let element = state[field(ROWS + k * (N + 1u) + j, fit)];
            square += element * element;
        }
        state[field(SCALE + j, fit)] = scale_of(sqrt(square), state[field(SCALE + j, fit)]);
    }
}

// Judges the residuals at TRIAL, which the registers hold, and says where to look next.
fn judge(fit: u32) {
    let tried = record[field(TRIED, fit)];
    record[field(TRIED, fit)] = tried + 1u;
    let finite = is_finite(total) && is_finite(observed) && is_finite(size());
    if (tried == 0u) {
        if (!finite) {
            record[field(STATUS, fit)] = DIVERGED;
            return;
        }
        keep(fit);
        begin(fit);
    } else {
        let before = state[field(OBJECTIVE, fit)];
        let predicted = state[field(PREDICTED, fit)];
        let noise = noise_of(fit);
        let blind = predicted <= noise && abs(before - total) <= noise;
        var gain = T(-1.0);
        if (predicted > 0.0) {
            gain = (before - total) / predicted;
        }
        if (blind) {
            gain = max(gain, T(0.5));
        }
        let accepted = finite && gain > LEAST_GAIN;
        adapt(fit, accepted, gain);
        if (accepted) {
            record[field(BLIND, fit)] = select(0u, record[field(BLIND, fit)] + 1u, blind);
            keep(fit);
        }
    }
    propose(fit, tried);
}

// Which unknowns a bound holds: those at one whose way downhill leads across it.
fn free_or_not(fit: u32) {
    for (var j = 0u; j < N; j++) {
        var slope = T(0.0);
        for (var k = 0u; k <= j; k++) {
            slope += state[field(ROWS + k * (N + 1u) + j, fit)] * state[field(ROWS + k * (N + 1u) + N, fit)];
        }
        let theta = state[field(THETA + j, fit)];
        let held = (theta <= settings[LOWER + j] && slope > 0.0) || (theta >= settings[UPPER + j] && slope < 0.0);
        state[field(FREE + j, fit)] = select(T(1.0), T(0.0), held);
    }
}

// Ends the fit, or computes the next step and the point to try.
fn propose(fit: u32, tried: u32) {
    free_or_not(fit);
    let attainable = solve(fit);
    let objective = state[field(OBJECTIVE, fit)];
    let tolerance = settings[TOLERANCE];
    let rounding = EPSILON * EPSILON * state[field(OBSERVED, fit)];
    let noise = noise_of(fit);
    let trusted = record[field(BLIND, fit)] >= MOST_BLIND && attainable <= noise;
    if (attainable <= tolerance * tolerance * objective || attainable <= rounding || trusted) {
        record[field(STATUS, fit)] = CONVERGED;
        return;
    }
    if (tried >= control.most) {
        record[field(STATUS, fit)] = MAX_STEPS;
        return;
    }
    limit(fit);
    var same = true;
    var length = T(0.0);
    for (var j = 0u; j < N; j++) {
        let theta = state[field(THETA + j, fit)];
        let unit = settings[UNIT + j];
        let trial = clamp(theta + unit * state[field(STEP + j, fit)], settings[LOWER + j], settings[UPPER + j]);
        // The step that is made, after its rounding.
        let step = (trial - theta) / unit;
        state[field(TRIAL + j, fit)] = trial;
        state[field(STEP + j, fit)] = step;
        let scaled = step * state[field(SCALE + j, fit)];
        length += scaled * scaled;
        same = same && trial == theta;
    }
    if (same) {
        let near = attainable <= max(noise, BATES_WATTS * BATES_WATTS * objective);
        record[field(STATUS, fit)] = select(STALLED, CONVERGED, near);
        return;
    }
    state[field(LENGTH, fit)] = sqrt(length);
    state[field(PREDICTED, fit)] = predicted_reduction(fit);
}

// ‖r‖² − ‖r + J·step‖²
fn predicted_reduction(fit: u32) -> T {
    var reduction = T(0.0);
    for (var k = 0u; k < N; k++) {
        var moved = T(0.0);
        for (var j = k; j < N; j++) {
            moved += state[field(ROWS + k * (N + 1u) + j, fit)] * state[field(STEP + j, fit)];
        }
        reduction -= moved * (2.0 * state[field(ROWS + k * (N + 1u) + N, fit)] + moved);
    }
    return reduction;
}
