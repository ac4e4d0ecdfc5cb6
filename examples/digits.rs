//! Trains a small network on the built-in handwritten digits through the library alone.

use std::sync::atomic::AtomicBool;

use downhill::{Event, Gpu, GpuOptions, Length, Optimizer, Result, TrainOptions, Trainer, data};

fn main() -> Result<()> {
    let gpu = Gpu::new(&GpuOptions::default())?;
    let digits = data::load(&"digits".parse()?, None, None, 0)?;
    let optimizer = Optimizer::new("adam")?.with("lr", 1e-3)?;
    let options = TrainOptions {
        length: Length::Epochs(20),
        seed: 1,
        ..TrainOptions::new("mlp:64".parse()?, optimizer)
    };
    let mut trainer = Trainer::new(&gpu, digits, options)?;
    println!("{} on {} bytes", trainer.report().adapter, trainer.report().bytes.total);
    let never = AtomicBool::new(false);
    loop {
        match trainer.next_event(&never)? {
            Event::Epoch(epoch) => {
                let accuracy = epoch.test.and_then(|test| test.accuracy).unwrap_or(0.0);
                println!(
                    "epoch {:2}  loss {:.4}  test accuracy {accuracy:.4}",
                    epoch.epoch, epoch.train_loss
                );
            }
            Event::Finished => return Ok(()),
            _ => {}
        }
    }
}
