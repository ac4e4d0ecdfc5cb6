//! The training step of `benches/peers/run` in candle on the CPU. Arguments and result as in `../burn/src/main.rs`.

use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{AdamW, Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap, linear, loss};

fn main() -> Result<()> {
    let began = Instant::now();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let widths: Vec<usize> = arguments[0].split(',').map(|width| width.parse().unwrap()).collect();
    let [batch, warm_up, steps] = [1, 2, 3].map(|place| arguments[place].parse::<usize>().unwrap());
    let device = Device::Cpu;
    let parameters = VarMap::new();
    let builder = VarBuilder::from_varmap(&parameters, DType::F32, &device);
    let layers = widths.windows(2).enumerate();
    let layers = layers.map(|(number, pair)| linear(pair[0], pair[1], builder.pp(number)));
    let layers = layers.collect::<Result<Vec<Linear>>>()?;
    let settings = ParamsAdamW { lr: 1e-3, weight_decay: 0.0, ..ParamsAdamW::default() };
    let mut optimizer = AdamW::new(parameters.all_vars(), settings)?;
    let rows = Tensor::rand(0f32, 1.0, (batch, widths[0]), &device)?;
    let classes = widths[widths.len() - 1];
    let labels: Vec<u32> = (0..batch).map(|row| (row * 7 % classes) as u32).collect();
    let labels = Tensor::new(labels, &device)?;
    let mut step = || -> Result<()> {
        let mut value = rows.clone();
        for (number, layer) in layers.iter().enumerate() {
            value = layer.forward(&value)?;
            if number + 1 < layers.len() {
                value = value.relu()?;
            }
        }
        optimizer.backward_step(&loss::cross_entropy(&value, &labels)?)
    };
    step()?;
    let first = began.elapsed().as_secs_f64();
    (0..warm_up).try_for_each(|_| step())?;
    let began = Instant::now();
    (0..steps).try_for_each(|_| step())?;
    let rate = steps as f64 / began.elapsed().as_secs_f64();
    println!("{{\"steps_per_second\":{rate},\"first_step_seconds\":{first}}}");
    Ok(())
}
