//! What learns: a network on digits and on what the user says of drawings, in the frames of the window.

use std::time::Duration;

use downhill::data::{self, Dataset, Split, Targets, Task};
use downhill::{
    Background, Event, Gpu, Inference, Length, Optimizer, TrainOptions, Trainer, in_background, wgpu,
};

use crate::Outcome;

/// What training may take of a frame of 16.7 ms.
const GRANTED: Duration = Duration::from_millis(4);

/// How often a drawing stands among the rows: once among a thousand it would hardly be heard.
const COPIES: usize = 30;

/// Ink of a block of dots that is full.
const FULL: f32 = 16.0;

/// The network, its training, and the rows.
pub struct Learner {
    gpu: Gpu,
    training: Training,
    /// The network at work, which the window asks in every frame.
    pub network: Inference,
    pixels: Vec<u8>,
    labels: Vec<u32>,
    test: Dataset,
    pub steps: u64,
    pub accuracy: f64,
}

enum Training {
    UnderWay(Box<Trainer>),
    /// A new one with more rows, which begins with what the last one had learnt.
    Opening(Background<Trainer>),
}

impl Learner {
    pub fn new(gpu: &Gpu) -> Outcome<Self> {
        let Split { train, test } = data::load(&"digits".parse()?, None, None, 0)?;
        let test = test.ok_or("the digits have rows to test with")?;
        let indices: Vec<u32> = (0..train.rows() as u32).collect();
        let mut pixels = vec![0; train.rows() * train.features_bytes_per_row()];
        let mut labels = vec![0u32; train.rows()];
        train.copy_rows(&indices, &mut pixels, bytemuck::cast_slice_mut(&mut labels))?;
        let mut trainer = Trainer::new(gpu, Split { train, test: Some(test.clone()) }, options()?)?;
        let network = Inference::of(&mut trainer, 1)?;
        let training = Training::UnderWay(Box::new(trainer));
        Ok(Learner { gpu: gpu.clone(), training, network, pixels, labels, test, steps: 0, accuracy: 0.0 })
    }

    /// A frame's share of training, which waits for nothing; and the network in `encoder` becomes what it has learnt.
    pub fn frame(&mut self, encoder: &mut wgpu::CommandEncoder) -> Outcome {
        if let Training::Opening(opening) = &mut self.training
            && let Some(trainer) = opening.take()
        {
            self.training = Training::UnderWay(Box::new(trainer?));
        }
        let Training::UnderWay(trainer) = &mut self.training else { return Ok(()) };
        self.steps += trainer.advance(GRANTED)?.steps;
        while let Some(event) = trainer.poll()? {
            if let Event::Epoch(epoch) = event {
                self.accuracy = epoch.test.and_then(|test| test.accuracy).unwrap_or(0.0);
            }
        }
        Ok(self.network.follow(trainer, encoder)?)
    }

    /// Has it learn that these pixels are a digit, on a thread that may wait: the window goes on with what is known.
    pub fn teach(&mut self, pixels: [u8; 64], digit: u32) -> Outcome {
        for _ in 0..COPIES {
            self.pixels.extend(pixels);
            self.labels.push(digit);
        }
        let (pixels, labels) = (self.pixels.clone(), Targets::Labels(self.labels.clone()));
        let train = Dataset::from_bytes(pixels, &[8, 8], 1.0 / FULL, Task::classes(10), labels)?;
        let (gpu, test) = (self.gpu.clone(), self.test.clone());
        let open = move |learnt| {
            let options = TrainOptions { initial: learnt, ..options()? };
            Trainer::new(&gpu, Split { train, test: Some(test) }, options)
        };
        // The one under way is at an end: its place is taken by one that waits for the thread.
        let idle =
            Training::Opening(in_background(|| Err(downhill::Error::Adapter("not opened".to_owned())))?);
        self.training = Training::Opening(match std::mem::replace(&mut self.training, idle) {
            Training::UnderWay(mut trainer) => in_background(move || open(trainer.parameters()?.into()))?,
            Training::Opening(opening) => {
                in_background(move || open(pollster::block_on(opening)?.parameters()?.into()))?
            }
        });
        Ok(())
    }
}

fn options() -> downhill::Result<TrainOptions> {
    let optimizer = Optimizer::new("adam")?.with("lr", 0.002)?;
    Ok(TrainOptions { length: Length::Epochs(u64::MAX), ..TrainOptions::new("mlp:64".parse()?, optimizer) })
}
