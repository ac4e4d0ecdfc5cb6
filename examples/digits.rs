//! Trains a small network on the built-in handwritten digits through the library alone.

use std::sync::atomic::AtomicBool;

use downhill::{Event, Gpu, GpuOptions, Length, Optimizer, Resident, Result, TrainOptions, Trainer, data};

fn main() -> Result<()> {
    let gpu = Gpu::new(&GpuOptions::default())?;
    let digits = data::load(&"digits".parse()?, None, None, 0)?;
    let options = TrainOptions {
        model: "mlp:64".parse()?,
        loss: None,
        optimizer: Optimizer::new("adam")?,
        batch: 128,
        length: Length::Epochs(20),
        seed: 1,
        eval_every: 1,
        log_every: 0,
        resident: Resident::Auto,
    };
    let mut trainer = Trainer::new(&gpu, digits, options)?;
    println!("{} on {} bytes", trainer.report().adapter, trainer.report().bytes.total);
    let never = AtomicBool::new(false);
    while let Event::Epoch(epoch) = trainer.next_event(&never)? {
        let accuracy = epoch.test.and_then(|test| test.accuracy).unwrap_or(0.0);
        println!("epoch {:2}  loss {:.4}  test accuracy {accuracy:.4}", epoch.epoch, epoch.train_loss);
    }
    Ok(())
}
