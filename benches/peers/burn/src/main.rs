//! The training step of `benches/peers/run` in Burn on its wgpu backend, with fusion and autotuning.
//!
//! Arguments: layer widths from features to classes with commas, batch, steps before those that are measured, measured
//! steps. Trains on one batch that stays on the device. Prints a JSON line.

#![recursion_limit = "256"]

use std::time::Instant;

use burn::backend::wgpu::WgpuDevice;
use burn::backend::{Autodiff, Wgpu};
use burn::module::Module;
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::nn::{Linear, LinearConfig, Relu};
use burn::optim::{AdamConfig, GradientsParams, Optimizer};
use burn::tensor::backend::Backend;
use burn::tensor::{Distribution, Int, Tensor};

type Training = Autodiff<Wgpu>;

#[derive(Module, Debug)]
struct Mlp<B: Backend> {
    layers: Vec<Linear<B>>,
    activation: Relu,
}

impl<B: Backend> Mlp<B> {
    fn forward(&self, rows: Tensor<B, 2>) -> Tensor<B, 2> {
        let last = self.layers.len() - 1;
        self.layers.iter().enumerate().fold(rows, |rows, (number, layer)| {
            let rows = layer.forward(rows);
            if number < last { self.activation.forward(rows) } else { rows }
        })
    }
}

fn main() {
    let began = Instant::now();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let widths: Vec<usize> = arguments[0].split(',').map(|width| width.parse().unwrap()).collect();
    let [batch, warm_up, steps] = [1, 2, 3].map(|place| arguments[place].parse::<usize>().unwrap());
    let device = match std::env::var("PEERS_CPU") {
        Ok(_) => WgpuDevice::Cpu,
        Err(_) => WgpuDevice::default(),
    };
    let layers = widths.windows(2).map(|pair| LinearConfig::new(pair[0], pair[1]).init(&device)).collect();
    let mut model: Mlp<Training> = Mlp { layers, activation: Relu::new() };
    let mut optimizer = AdamConfig::new().with_epsilon(1e-8).init();
    let loss: CrossEntropyLoss<Training> = CrossEntropyLossConfig::new().init(&device);
    let rows = Tensor::random([batch, widths[0]], Distribution::Uniform(0.0, 1.0), &device);
    let classes = *widths.last().unwrap();
    let labels: Vec<i32> = (0..batch).map(|row| (row * 7 % classes) as i32).collect();
    let labels = Tensor::<Training, 1, Int>::from_ints(labels.as_slice(), &device);
    let mut step = |model: Mlp<Training>| {
        let loss = loss.forward(model.forward(rows.clone()), labels.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        optimizer.step(1e-3, model, gradients)
    };
    let wait = || Training::sync(&device).unwrap();
    model = step(model);
    wait();
    let first = began.elapsed().as_secs_f64();
    for _ in 0..warm_up {
        model = step(model);
    }
    wait();
    let began = Instant::now();
    for _ in 0..steps {
        model = step(model);
    }
    wait();
    let rate = steps as f64 / began.elapsed().as_secs_f64();
    println!("{{\"steps_per_second\":{rate},\"first_step_seconds\":{first}}}");
}
