use downhill::*;
use std::sync::atomic::AtomicBool;
fn main() -> Result<()> {
    let a: Vec<String> = std::env::args().collect();
    let gpu = Gpu::new(&GpuOptions::default())?;
    let set = data::load(&a[1].parse()?, None, None, 0)?;
    let mut sum = 0.0;
    let init = match a.get(5).map(|s| s.as_str()) {
        Some("ku") => Initialisation::KaimingUniform,
        Some("kn") => Initialisation::KaimingNormal,
        Some("xu") => Initialisation::XavierUniform,
        _ => Initialisation::PyTorch,
    };
    for seed in 1..=5 {
        let options = TrainOptions {
            model: a[2].parse::<ModelSpec>()?.with_initialisation(init),
            loss: None,
            optimizer: Optimizer::new("adam")?,
            batch: a[3].parse().unwrap(),
            length: Length::Epochs(a[4].parse().unwrap()),
            seed,
            eval_every: 1,
            log_every: 0,
            resident: Resident::Auto,
        };
        let t = std::time::Instant::now();
        let mut trainer = Trainer::new(&gpu, set.clone(), options)?;
        let never = AtomicBool::new(false);
        let mut last = None;
        while let Event::Epoch(e) = trainer.next_event(&never)? {
            last = Some(e);
        }
        let e = last.unwrap();
        let acc = e.test.unwrap().accuracy.unwrap();
        sum += acc;
        println!(
            "batch {} seed {seed} acc {acc:.4} loss {:.4} {:.2}s resident {} rate {:.0}",
            a[3],
            e.train_loss,
            t.elapsed().as_secs_f64(),
            trainer.report().resident,
            e.samples_per_second
        );
    }
    println!("mean {:.4}", sum / 5.0);
    Ok(())
}
