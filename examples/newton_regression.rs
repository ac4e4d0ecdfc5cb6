//! Can you apply Newton's method to linear regression, and what do you get? One step, from anywhere, to the solution of
//! the normal equations: the objective is a quadratic, and Newton's model of it is the objective itself.
//!
//! ```sh
//! cargo run --release --example newton_regression
//! ```

use downhill::{Gpu, GpuOptions, Method, MethodOptions, Objective, Tolerances, minimize_by};

/// Points on a line, and beside it by turns.
const POINTS: usize = 100;

fn main() -> downhill::Result<()> {
    let gpu = Gpu::new(&GpuOptions::default())?;
    // y = 2t − 1 and a known disturbance; far from the solution at the start.
    let text = format!("t=iota({POINTS})/50-1; y=2*t-1+sin(7*iota({POINTS}))/4; sum((w*t+b-y)^2)");
    let squares = Objective::parse(&text, "w=-30; b=70")?;
    let tolerances = Tolerances { gradient: Some(1e-2), ..Tolerances::default() };
    let options = MethodOptions { tolerances, trace: 1, ..MethodOptions::new(Method::new("newton")?) };
    let solved = minimize_by(&gpu, &squares, &options)?;
    for point in &solved.minimum.trace {
        println!(
            "step {}: w = {:.6}, b = {:.6}, loss {:.6}",
            point.step, point.theta[0], point.theta[1], point.loss
        );
    }
    let [w, b] = normal_equations();
    println!("normal equations: w = {w:.6}, b = {b:.6}");
    println!("steps of Newton's method: {}", solved.minimum.steps);
    Ok(())
}

/// (XᵀX)·(w, b) = Xᵀy, X having the columns t and 1, by Cramer's rule in f64.
fn normal_equations() -> [f64; 2] {
    let rows = (0..POINTS).map(|i| {
        let (i, t) = (i as f64, i as f64 / 50.0 - 1.0);
        (t, 2.0 * t - 1.0 + (7.0 * i).sin() / 4.0)
    });
    let sums = rows.fold([0.0; 5], |[tt, t, one, ty, y], (x, value)| {
        [tt + x * x, t + x, one + 1.0, ty + x * value, y + value]
    });
    let [tt, t, one, ty, y] = sums;
    let determinant = tt * one - t * t;
    [(ty * one - t * y) / determinant, (tt * y - t * ty) / determinant]
}
