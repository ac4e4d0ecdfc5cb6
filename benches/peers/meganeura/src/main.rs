//! The training step of `benches/peers/run` in Meganeura. Arguments and result as in `../burn/src/main.rs`.

use std::time::Instant;

use meganeura::{Graph, SessionConfig};

fn main() {
    let began = Instant::now();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let widths: Vec<usize> = arguments[0].split(',').map(|width| width.parse().unwrap()).collect();
    let [batch, warm_up, steps] = [1, 2, 3].map(|place| arguments[place].parse::<usize>().unwrap());
    let classes = *widths.last().unwrap();
    let mut graph = Graph::new();
    let rows = graph.input("rows", &[batch, widths[0]]);
    let labels = graph.input("labels", &[batch, classes]);
    let mut value = rows;
    for (number, pair) in widths.windows(2).enumerate() {
        let weight = graph.parameter(&format!("weight{number}"), &[pair[0], pair[1]]);
        let bias = graph.parameter(&format!("bias{number}"), &[pair[1]]);
        let product = graph.matmul(value, weight);
        value = graph.bias_add(product, bias);
        if number + 2 < widths.len() {
            value = graph.relu(value);
        }
    }
    let loss = graph.cross_entropy_loss(value, labels);
    graph.set_outputs(vec![loss]);
    let (mut session, _) = meganeura::build(&graph, SessionConfig::default());
    let mut state = 1u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    for (number, pair) in widths.windows(2).enumerate() {
        let scale = (6.0 / pair[0] as f32).sqrt();
        let weight: Vec<f32> = (0..pair[0] * pair[1]).map(|_| scale * (2.0 * random() - 1.0)).collect();
        session.set_parameter(&format!("weight{number}"), &weight);
        session.set_parameter(&format!("bias{number}"), &vec![0.0; pair[1]]);
    }
    let features: Vec<f32> = (0..batch * widths[0]).map(|_| random()).collect();
    let mut targets = vec![0.0; batch * classes];
    (0..batch).for_each(|row| targets[row * classes + row * 7 % classes] = 1.0);
    session.set_input("rows", &features);
    session.set_input("labels", &targets);
    session.set_adam(1e-3, 0.9, 0.999, 1e-8);
    session.step();
    session.wait();
    let first = began.elapsed().as_secs_f64();
    (0..warm_up).for_each(|_| session.step());
    session.wait();
    let began = Instant::now();
    (0..steps).for_each(|_| session.step());
    session.wait();
    let rate = steps as f64 / began.elapsed().as_secs_f64();
    println!("{{\"steps_per_second\":{rate},\"first_step_seconds\":{first}}}");
}
