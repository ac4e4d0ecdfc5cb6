use downhill::*;
fn main() {
    let gpu = Gpu::new(&GpuOptions::default()).unwrap();
    let scalar = ["steepest", "cg", "cg hz", "bfgs", "lbfgs", "newton", "newton-cg"];
    let problems = [
        ("(1-x)^2 + 100*(y-x^2)^2", "[1-x, 10*(y-x^2)]", "x=-1.2; y=1"),
        ("sum(10^(4*iota(100)/99)*(x-1)^2)/2", "sqrt(10^(4*iota(100)/99)/2)*(x-1)", "x=zeros(100)"),
        ("(x^2+y-11)^2+(x+y^2-7)^2", "[x^2+y-11, x+y^2-7]", "x=0; y=0"),
        ("(1.5-x+x*y)^2+(2.25-x+x*y^2)^2+(2.625-x+x*y^3)^2", "[1.5-x+x*y,2.25-x+x*y^2,2.625-x+x*y^3]", "x=1; y=1"),
    ];
    for (f, r, start) in problems {
        println!("{f}");
        for name in scalar.iter().chain(&["gauss-newton", "gauss-newton-cg", "levenberg", "lm", "dogleg"]) {
            let mut m = Method::new(name.split(' ').next().unwrap()).unwrap();
            if name.contains("hz") { m = m.with("form", "hager-zhang").unwrap(); }
            let o = if m.of_residuals() { Objective::parse_residuals(r, start) } else { Objective::parse(f, start) }.unwrap();
            match minimize_by(&gpu, &o, &MethodOptions { steps: 1000, tolerances: Tolerances { gradient: Some(1e-4), ..Default::default() }, ..MethodOptions::new(m) }) {
                Ok(s) => println!("{name:16} {:?} {:?} steps {} evals {} products {} reads {} loss {:.3e} g {:.2e} {:.2} s", s.minimum.status, s.test, s.minimum.steps, s.minimum.evaluations, s.products, s.readbacks, s.minimum.loss, s.minimum.gradient_norm, s.minimum.seconds),
                Err(e) => println!("{name:16} {e}"),
            }
        }
    }
}
