// A running average a of x, in which the newest x weighs 1 − β.
//
// Written a + (1 − β)(x − a): in f32, β and 1 − β round apart and βa + (1 − β)x would settle beside x.
fn averaged(past: vec4<f32>, newest: vec4<f32>, weight: f32) -> vec4<f32> {
    return past + weight * (newest - past);
}

