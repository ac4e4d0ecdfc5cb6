//! The kernels of iterations by themselves, against f64.

use super::block::Block;
use super::cg::{BEGIN, CURVATURE};
use super::*;
use crate::linear::number::Number;
use crate::linear::tests::{Random, poisson};
use crate::plan::tests::translation::translate;
use crate::{Gpu, GpuOptions};

/// The scalars that CG keeps ρ and α in.
const RHO: usize = 2;
const ALPHA: usize = 5;

#[test]
fn dot_products_and_what_follows_from_them_keep_the_bits_of_their_numbers() {
    let gpu = Gpu::new(&GpuOptions::default()).unwrap();
    for number in [Number::Pair, Number::Double] {
        let device = Device::new(&gpu, number).unwrap();
        for count in [1, 3, 63, 65, 257, 5000, 70_000] {
            let mut random = Random(count as u64);
            let [a, b] = [0, 1].map(|_| number.decode(&number.encode(&random.vector(count))));
            let [x, y] = [&a, &b].map(|values| device.vector(values).unwrap());
            let (parts, block) = (device.zeros(2 * MOST_PARTS).unwrap(), Block::new(&device).unwrap());
            block.start(&device, &[0.0, 1.0]).unwrap();
            let mut list = device.launches();
            dots(&mut list, count, [&y, &y, &parts, &block.buffer], &BEGIN);
            dots(&mut list, count, [&x, &x, &parts, &block.buffer], &CURVATURE);
            list.finish().unwrap().submit(&gpu, 1);
            let said = block.read(&device, 0).unwrap();
            let square = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>();
            let exact = [(RHO, square(&b)), (ALPHA, square(&b) / square(&a))];
            for (slot, exact) in exact {
                let error = (said.scalars[slot] - exact).abs() / exact;
                // Of squares, whose sums lose nothing to one another: a rounding for each addition at most.
                assert!(
                    error <= 8.0 * number.epsilon() * (count as f64).sqrt(),
                    "{number:?} {count} {slot}: {error:e}"
                );
            }
        }
    }
}

#[test]
fn products_keep_the_bits_of_their_numbers() {
    let gpu = Gpu::new(&GpuOptions::default()).unwrap();
    for number in [Number::Pair, Number::Double] {
        let device = Device::new(&gpu, number).unwrap();
        let matrix = poisson(9);
        let matrix = matrix
            .map(|row, column, value| number.decode(&number.encode(&[value / (2 + row + column) as f64]))[0]);
        let v = number.decode(&number.encode(&Random(1).vector(81)));
        let (x, result, block) =
            (device.vector(&v).unwrap(), device.zeros(81).unwrap(), Block::new(&device).unwrap());
        let on_device = DeviceMatrix::new(&device, &matrix).unwrap();
        let mut list = device.launches();
        product(&mut list, &on_device, &x, &block.buffer, NONE, &result);
        list.finish().unwrap().submit(&gpu, 1);
        for (found, exact) in device.read(&result, 81).unwrap().into_iter().zip(matrix.product(&v)) {
            assert!((found - exact).abs() <= 8.0 * number.epsilon(), "{number:?}: {found} {exact}");
        }
    }
}

#[test]
fn kernels_are_valid_for_vulkan_metal_and_dx12() {
    let shaders = [
        &PRODUCT,
        &DOTS,
        &cg::BEGIN,
        &cg::CURVATURE,
        &cg::RESIDUALS,
        &cg::STEP,
        &cg::DIRECTION,
        &lsqr::LEFT,
        &lsqr::RIGHT,
        &lsqr::STEP,
        &lsqr::NORMALISE,
        &preconditioner::SCALE,
        &preconditioner::TRIANGULAR,
        &stationary::DEFECT,
        &stationary::JACOBI,
        &stationary::RELAX,
        &stationary::NORM,
    ];
    for shader in shaders {
        let text = Number::Pair.kernel_text(shader);
        translate(&text, false).unwrap_or_else(|message| panic!("{}: {message}\n{text}", shader.label));
        // WebGPU promises eight storage buffers.
        assert!(shader.reads + shader.writes <= 8, "{}", shader.label);
    }
}
