// The page at the left, as high as the window; at its right a bar for each digit, as long as it is likely, and below them one for
// the part of the test digits that is right. page: 32 rows of 32 dots; likely: [10]; facts: width, height, accuracy · 65536.

@group(0) @binding(0) var<storage, read> page: array<u32>;
@group(0) @binding(1) var<storage, read> likely: array<f32>;
@group(0) @binding(2) var<uniform> facts: vec4<u32>;

const PAPER = vec3<f32>(0.96, 0.95, 0.92);
const INK = vec3<f32>(0.10, 0.12, 0.20);
const WALL = vec3<f32>(0.16, 0.17, 0.21);
const BAR = vec3<f32>(0.27, 0.52, 0.75);
const BEST = vec3<f32>(0.95, 0.62, 0.20);
const RIGHT = vec3<f32>(0.35, 0.68, 0.42);

@vertex
fn corner(@builtin(vertex_index) i: u32) -> @builtin(position) vec4<f32> {
    return vec4(f32(i % 2u) * 4.0 - 1.0, f32(i / 2u) * 4.0 - 1.0, 0.0, 1.0);
}

// Which of the seven strokes of a digit are there: top, right above, right below, bottom, left below, left above, middle.
fn strokes(digit: u32) -> u32 {
    switch digit {
        case 0u: { return 63u; }
        case 1u: { return 6u; }
        case 2u: { return 91u; }
        case 3u: { return 79u; }
        case 4u: { return 102u; }
        case 5u: { return 109u; }
        case 6u: { return 125u; }
        case 7u: { return 7u; }
        case 8u: { return 127u; }
        default: { return 111u; }
    }
}

// Whether a place of a field 1 wide and 2 high is on a stroke of `digit`.
fn on_digit(at: vec2<f32>, digit: u32) -> bool {
    let bits = strokes(digit);
    let thick = 0.2;
    if any(at < vec2(0.0)) || at.x > 1.0 || at.y > 2.0 { return false; }
    let right = at.x > 1.0 - thick;
    let left = at.x < thick;
    let above = at.y < 1.0;
    return (at.y < thick && (bits & 1u) != 0u)
        || (right && above && (bits & 2u) != 0u)
        || (right && !above && (bits & 4u) != 0u)
        || (at.y > 2.0 - thick && (bits & 8u) != 0u)
        || (left && !above && (bits & 16u) != 0u)
        || (left && above && (bits & 32u) != 0u)
        || (abs(at.y - 1.0) < thick / 2.0 && (bits & 64u) != 0u);
}

fn bar(x: f32, length: f32, colour: vec3<f32>) -> vec3<f32> {
    return select(WALL * 1.35, colour, x < length);
}

@fragment
fn picture(@builtin(position) position: vec4<f32>) -> @location(0) vec4<f32> {
    let size = vec2<f32>(facts.xy);
    // In parts of the window's height.
    let at = position.xy / size.y;
    if at.x < 1.0 {
        let dot = vec2<u32>(at * 32.0);
        let is_ink = ((page[min(dot.y, 31u)] >> dot.x) & 1u) != 0u;
        let grid = fract(at * 8.0);
        let line = select(1.0, 0.96, any(grid < vec2(0.02)));
        return vec4(select(PAPER * line, INK, is_ink), 1.0);
    }
    let rest = vec2(at.x - 1.0, at.y);
    let row = u32(rest.y * 11.0);
    let within = fract(rest.y * 11.0);
    let width = max(size.x / size.y - 1.0 - 0.16, 0.05);
    let along = (rest.x - 0.11) / width;
    let in_bar = along >= 0.0 && along < 1.0 && within > 0.15 && within < 0.85;
    if row >= 10u {
        let accuracy = f32(facts.z) / 65536.0;
        return vec4(select(WALL, bar(along, accuracy, RIGHT), in_bar), 1.0);
    }
    var best = 0u;
    for (var digit = 1u; digit < 10u; digit++) {
        if likely[digit] > likely[best] { best = digit; }
    }
    let colour = select(BAR, BEST, row == best);
    if in_bar { return vec4(bar(along, likely[row], colour), 1.0); }
    // A digit as high as its bar.
    let glyph = vec2((rest.x - 0.045) / 0.03, (within - 0.15) / 0.35);
    return vec4(select(WALL, select(PAPER, BEST, row == best), on_digit(glyph, row)), 1.0);
}
