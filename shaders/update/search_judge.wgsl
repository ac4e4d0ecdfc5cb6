// The objective at a trial point, loss and the `count` partial sums of its penalty, against the least so far; and the
// next trial's step size, which is `first` (bits) times the middle of the grid.
const MIDDLE = 0u;
const FIRST = 1u;
const LAST = 2u;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) lane: u32) {
    var penalty = 0.0;
    for (var i = lane; i < launch.count; i += LANES) {
        penalty += partials[i];
    }
    let all = total(lane, vec2<f32>(penalty, 0.0)).x;
    if (lane != 0u) {
        return;
    }
    var now = search[0];
    let objective = losses[0] + all;
    // By its bits: compilers may take NaN and infinity for things that do not happen.
    let is_finite = (bitcast<u32>(objective) & 0x7f800000u) != 0x7f800000u;
    if (launch.second == FIRST) {
        now.chosen = 0.0;
        now.loss = losses[0];
        now.least = objective;
    } else if (is_finite && objective < now.least) {
        now.chosen = now.trial;
        now.least = objective;
    }
    now.trial = now.factor * bitcast<f32>(launch.first);
    if (launch.second == LAST) {
        now.trial = 0.0;
        if (now.chosen > 0.0) {
            now.factor = min(now.chosen, MOST);
        } else {
            // Below the whole grid; from far above again where nothing so small can help.
            let smaller = now.factor / WIDTH;
            now.factor = select(MOST, smaller, smaller >= LEAST);
        }
    }
    search[0] = now;
}
