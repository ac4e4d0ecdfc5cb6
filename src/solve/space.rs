//! Flat vectors on a device and the block of scalars beside them: sums, products with numbers, dot products. Everything is
//! recorded; the host waits only where it reads.
//!
//! A slot of the block is a value and what rounding left of it, so a dot product keeps twice the digits of its vectors'
//! elements. Kernels take their coefficients from slots, which the host or other kernels wrote: a loop whose next
//! coefficients follow from dot products needs no word from the host.

use crate::gpu::{BindingKind, Buffer, BufferUse, Kernel, KernelSource, Kernels};
use crate::linear::number::{PAIR, SINGLE};
use crate::plan::replay::part;
use crate::plan::{Piece, Precision, ThetaLayout};
use crate::{Gpu, Result};

const SCALE_ADD: &str = include_str!("../../shaders/solve/scale_add.wgsl");
const DOT_PARTS: &str = include_str!("../../shaders/solve/dot_parts.wgsl");
const DOT_END: &str = include_str!("../../shaders/solve/dot_end.wgsl");

/// Invocations of a workgroup of all kernels here.
const WORKGROUP: usize = 64;
/// Workgroups of a dot product over a shard at most, and elements for each invocation before there is a second one.
const MOST_GROUPS: usize = 256;
const ALONE: usize = 32;
/// Bytes of a part of a dot product.
const PART_BYTES: u64 = 8;
/// Bytes of a slot: offsets of bindings are multiples of them on every adapter.
const SLOT_BYTES: u64 = 256;
/// Slots of the block.
const SLOTS: usize = 192;

/// A number in the block of scalars.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Slot(pub usize);

/// The numbers 0, 1 and −1, which are always there.
pub(crate) const ZERO: Slot = Slot(0);
pub(crate) const ONE: Slot = Slot(1);
pub(crate) const MINUS_ONE: Slot = Slot(2);
/// The first slot that is free for others.
pub(crate) const FREE: usize = 3;

/// A flat vector in the layout of θ, shard by shard. Clones are the same vector.
#[derive(Clone, Debug)]
pub(crate) struct Vector(pub Vec<Buffer>);

/// The vectors of one layout on one device.
pub(crate) struct Space {
    pub gpu: Gpu,
    kernels: Kernels,
    precision: Precision,
    /// Elements of each shard, padding included.
    shards: Vec<usize>,
    scalars: Buffer,
    parts: Buffer,
    scale_add: Kernel,
    dot_parts: Kernel,
    norm_parts: Kernel,
    dot_end: Kernel,
    recording: Recording,
    readbacks: u64,
}

/// Commands that wait to be submitted.
#[derive(Default)]
struct Recording {
    encoder: Option<wgpu::CommandEncoder>,
    pass: Option<wgpu::ComputePass<'static>>,
}

impl Space {
    /// Vectors of shards of so many elements in 32 bits, or in 64 with [`Precision::F64`].
    ///
    /// Errors: as [`Gpu::buffer`] and [`Kernels::compile`].
    pub fn new(gpu: &Gpu, shards: &[usize], precision: Precision) -> Result<Self> {
        use BindingKind::{ReadStorage, ReadWriteStorage};
        let kernels = Kernels::new(gpu);
        let compile = |label: &str, wgsl: String, bindings: &[BindingKind]| {
            let wgsl = precision.kernel_text(wgsl);
            kernels.compile(&KernelSource { label, wgsl: &wgsl, bindings })
        };
        // Pairs of f32 are enough; f64 has digits of its own.
        let (arithmetic, in_slot) = match precision {
            Precision::F64 => (SINGLE, "vec2(x, 0.0)"),
            Precision::F32 | Precision::F16 => (PAIR, "x"),
        };
        let arithmetic = format!("{arithmetic}\nfn in_slot(x: Real) -> vec2<f32> {{ return {in_slot}; }}\n");
        let parts = |absolute: bool| format!("const ABSOLUTE = {absolute};\n{arithmetic}{DOT_PARTS}");
        let of_parts = [ReadStorage, ReadStorage, ReadWriteStorage];
        let mut space = Space {
            scale_add: compile(
                "scale and add",
                SCALE_ADD.to_owned(),
                &[ReadWriteStorage, ReadStorage, ReadStorage, ReadStorage, ReadStorage],
            )?,
            dot_parts: compile("dot product", parts(false), &of_parts)?,
            norm_parts: compile("norm", parts(true), &of_parts)?,
            dot_end: compile(
                "end of a dot product",
                format!("{arithmetic}{DOT_END}"),
                &[ReadStorage, ReadWriteStorage, ReadWriteStorage],
            )?,
            scalars: gpu.buffer("scalars", SLOTS as u64 * SLOT_BYTES, BufferUse::Storage)?,
            // A pair of f32 has the bytes of an f64.
            parts: gpu.buffer("scalars", parts_bytes(shards), BufferUse::Storage)?,
            gpu: gpu.clone(),
            kernels,
            precision,
            shards: shards.to_vec(),
            recording: Recording::default(),
            readbacks: 0,
        };
        space.write(&[(ONE, 1.0), (MINUS_ONE, -1.0)]);
        Ok(space)
    }

    /// Bytes of what it allocates before there is a vector.
    pub fn own_bytes(shards: &[usize]) -> u64 {
        SLOTS as u64 * SLOT_BYTES + parts_bytes(shards)
    }

    /// Bytes of an element.
    pub fn element_bytes(&self) -> u64 {
        self.precision.float_bytes()
    }

    /// The largest relative error of one rounding.
    pub fn roundoff(&self) -> f64 {
        self.precision.epsilon() / 2.0
    }

    /// The kernels of this device.
    pub fn kernels(&self) -> &Kernels {
        &self.kernels
    }

    /// How often the host has read.
    pub fn readbacks(&self) -> u64 {
        self.readbacks
    }

    /// A vector of zeros.
    pub fn vector(&self) -> Result<Vector> {
        let shard = |&elements| {
            self.gpu.buffer("vectors", elements as u64 * self.element_bytes(), BufferUse::Storage)
        };
        Ok(Vector(self.shards.iter().map(shard).collect::<Result<_>>()?))
    }

    /// Writes slots, after all that is recorded so far; nothing waits.
    pub fn write(&mut self, slots: &[(Slot, f64)]) {
        self.submit();
        for &(slot, value) in slots {
            // What the precision leaves of the value, and the rest.
            let head = if self.precision == Precision::F64 { value } else { f64::from(value as f32) };
            let bytes = self.bytes(&[head, value - head]);
            self.gpu.queue().write_buffer(self.scalars.raw(), slot.0 as u64 * SLOT_BYTES, &bytes);
        }
    }

    /// Reads slots, after all that is recorded. The host waits.
    pub fn read<const N: usize>(&mut self, slots: [Slot; N]) -> Result<[f64; N]> {
        self.submit();
        self.readbacks += 1;
        let end = slots.iter().map(|slot| slot.0 as u64 + 1).max().unwrap_or(0) * SLOT_BYTES;
        let bytes = self.gpu.read_buffer(self.scalars.raw(), 0..end)?;
        let width = self.element_bytes() as usize;
        Ok(slots.map(|slot| {
            let at = slot.0 * SLOT_BYTES as usize;
            self.numbers(&bytes[at..at + 2 * width]).iter().sum()
        }))
    }

    /// Where a slot lies, for kernels of others.
    pub fn slot(&self, slot: Slot) -> wgpu::BufferBinding<'_> {
        part(&self.scalars, slot.0 as u64 * SLOT_BYTES, 2 * self.element_bytes())
    }

    /// Copies a number of the vectors' own precision into a slot.
    pub fn copy_to_slot(&mut self, from: &Buffer, at: u64, slot: Slot) {
        let bytes = self.element_bytes();
        let to = self.scalars.raw().clone();
        self.encoder().copy_buffer_to_buffer(from.raw(), at, &to, slot.0 as u64 * SLOT_BYTES, bytes);
    }

    /// y = a·y + b·c·x.
    pub fn scale_add(&mut self, y: &Vector, a: Slot, x: &Vector, b: Slot, c: Slot) -> Result<()> {
        let kernel = self.scale_add.clone();
        for (y, x) in y.0.iter().zip(&x.0) {
            let ranges =
                [part(y, 0, y.bytes()), part(x, 0, x.bytes()), self.slot(a), self.slot(b), self.slot(c)];
            let bind_group = self.gpu.bind_group(&kernel, "scale and add", &ranges)?;
            let most = self.gpu.profile().max_workgroups_per_dimension as usize;
            let elements = (y.bytes() / self.element_bytes()) as usize;
            self.launch(&kernel, &bind_group, elements.div_ceil(WORKGROUP).min(most));
        }
        Ok(())
    }

    /// A unit vector: zeros but for a 1 at this place of a shard.
    pub fn unit(&mut self, vector: &Vector, shard: usize, place: usize) {
        for shard in &vector.0 {
            self.encoder().clear_buffer(shard.raw(), 0, None);
        }
        let (bytes, scalars) = (self.element_bytes(), self.scalars.raw().clone());
        let to = vector.0[shard].raw();
        self.encoder().copy_buffer_to_buffer(
            &scalars,
            ONE.0 as u64 * SLOT_BYTES,
            to,
            bytes * place as u64,
            bytes,
        );
    }

    /// y = x.
    pub fn copy(&mut self, y: &Vector, x: &Vector) {
        for (y, x) in y.0.iter().zip(&x.0) {
            self.encoder().copy_buffer_to_buffer(x.raw(), 0, y.raw(), 0, x.bytes());
        }
    }

    /// slot = factor · x·y.
    pub fn dot(&mut self, slot: Slot, factor: Slot, x: &Vector, y: &Vector) -> Result<()> {
        self.sum(self.dot_parts.clone(), slot, factor, x, y)
    }

    /// slot = Σ|x|.
    pub fn absolute_sum(&mut self, slot: Slot, x: &Vector) -> Result<()> {
        self.sum(self.norm_parts.clone(), slot, ONE, x, x)
    }

    fn sum(&mut self, kernel: Kernel, slot: Slot, factor: Slot, x: &Vector, y: &Vector) -> Result<()> {
        let mut offset = 0;
        for (x, y) in x.0.iter().zip(&y.0) {
            let groups = groups((x.bytes() / self.element_bytes()) as usize);
            let bytes = PART_BYTES * (WORKGROUP * groups) as u64;
            let ranges = [part(x, 0, x.bytes()), part(y, 0, y.bytes()), part(&self.parts, offset, bytes)];
            let bind_group = self.gpu.bind_group(&kernel, "dot product", &ranges)?;
            self.launch(&kernel, &bind_group, groups);
            offset += bytes;
        }
        let ranges = [part(&self.parts, 0, offset), self.slot(slot), self.slot(factor)];
        let kernel = self.dot_end.clone();
        let bind_group = self.gpu.bind_group(&kernel, "end of a dot product", &ranges)?;
        self.launch(&kernel, &bind_group, 1);
        Ok(())
    }

    /// Runs `statements` over the block of scalars, where `scalars[place(slot)]` is a slot, in one invocation.
    pub fn compute(&mut self, label: &str, statements: &str) -> Result<()> {
        let wgsl = format!(
            "@group(0) @binding(0) var<storage, read_write> scalars: array<vec2<f32>>;\n\n\
             @compute @workgroup_size(1)\nfn main() {{\n{statements}}}\n"
        );
        let wgsl = self.precision.kernel_text(wgsl);
        let source = KernelSource { label, wgsl: &wgsl, bindings: &[BindingKind::ReadWriteStorage] };
        let kernel = self.kernels.compile(&source)?;
        let ranges = [part(&self.scalars, 0, self.scalars.bytes())];
        let bind_group = self.gpu.bind_group(&kernel, label, &ranges)?;
        self.launch(&kernel, &bind_group, 1);
        Ok(())
    }

    /// The place of a slot among the pairs of the block.
    pub fn place(&self, slot: Slot) -> usize {
        slot.0 * (SLOT_BYTES / (2 * self.element_bytes())) as usize
    }

    /// Room for some vectors that are read at once.
    ///
    /// Errors: as [`Gpu::buffer`].
    pub fn rows(&self, count: usize) -> Result<Buffer> {
        self.gpu.buffer("vectors", self.row_bytes() * count as u64, BufferUse::Storage)
    }

    /// Copies a vector to a row of such room.
    pub fn copy_to_row(&mut self, rows: &Buffer, row: usize, vector: &Vector) {
        let mut at = self.row_bytes() * row as u64;
        for shard in &vector.0 {
            self.encoder().copy_buffer_to_buffer(shard.raw(), 0, rows.raw(), at, shard.bytes());
            at += shard.bytes();
        }
    }

    /// The first rows without padding, one after another, parameter by parameter. The host waits.
    pub fn read_rows(&mut self, rows: &Buffer, count: usize, layout: &ThetaLayout) -> Result<Vec<f64>> {
        self.submit();
        self.readbacks += 1;
        let padded = self.numbers(&self.gpu.read_buffer(rows.raw(), 0..self.row_bytes() * count as u64)?);
        let length: usize = self.shards.iter().sum();
        Ok(padded.chunks_exact(length).flat_map(|row| self.without_padding(row, layout)).collect())
    }

    /// Of what the shards hold, one after another, the numbers of a layout's parameters.
    fn without_padding(&self, padded: &[f64], layout: &ThetaLayout) -> Vec<f64> {
        let piece = |piece: &Piece| {
            let before: usize = self.shards[..piece.shard].iter().sum();
            padded[before + piece.offset..][..piece.elements].to_vec()
        };
        layout.pieces.iter().flatten().flat_map(piece).collect()
    }

    /// The numbers of one vector without padding. The host waits.
    pub fn read_vector(&mut self, vector: &Vector, layout: &ThetaLayout) -> Result<Vec<f64>> {
        self.submit();
        self.readbacks += 1;
        self.numbers_of(vector, layout)
    }

    /// The same of what is submitted, and not counted.
    pub fn numbers_of(&self, vector: &Vector, layout: &ThetaLayout) -> Result<Vec<f64>> {
        let mut padded = Vec::new();
        for shard in &vector.0 {
            padded.extend(self.numbers(&self.gpu.read_buffer(shard.raw(), 0..shard.bytes())?));
        }
        Ok(self.without_padding(&padded, layout))
    }

    fn row_bytes(&self) -> u64 {
        self.element_bytes() * self.shards.iter().sum::<usize>() as u64
    }

    /// Writes the numbers of a vector, as many as [`Space::read_vector`] gives, after all that is recorded.
    pub fn write_vector(&mut self, vector: &Vector, layout: &ThetaLayout, numbers: &[f64]) -> Result<()> {
        self.submit();
        let mut rest = numbers;
        for piece in layout.pieces.iter().flatten() {
            let (own, others) = rest.split_at(piece.elements.min(rest.len()));
            let at = self.element_bytes() * piece.offset as u64;
            self.gpu.write_buffer(vector.0[piece.shard].raw(), at, &self.bytes(own))?;
            rest = others;
        }
        Ok(())
    }

    fn launch(&mut self, kernel: &Kernel, bind_group: &wgpu::BindGroup, groups: usize) {
        let pass = self.pass();
        pass.set_pipeline(&kernel.pipeline);
        pass.set_bind_group(0, bind_group, &[]);
        pass.dispatch_workgroups(groups as u32, 1, 1);
    }

    /// The pass that is being recorded.
    pub fn pass(&mut self) -> &mut wgpu::ComputePass<'static> {
        let Recording { encoder, pass } = &mut self.recording;
        pass.get_or_insert_with(|| {
            let encoder =
                encoder.get_or_insert_with(|| self.gpu.device().create_command_encoder(&Default::default()));
            encoder.begin_compute_pass(&Default::default()).forget_lifetime()
        })
    }

    /// The commands that are being recorded, between two passes.
    pub fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        self.recording.pass = None;
        let gpu = &self.gpu;
        self.recording.encoder.get_or_insert_with(|| gpu.device().create_command_encoder(&Default::default()))
    }

    /// Submits what is recorded.
    pub fn submit(&mut self) {
        self.recording.pass = None;
        if let Some(encoder) = self.recording.encoder.take() {
            self.gpu.submit(encoder);
        }
    }

    /// Numbers as the device has them.
    pub fn bytes(&self, numbers: &[f64]) -> Vec<u8> {
        self.precision.encode(numbers)
    }

    /// Numbers of the device as the host has them.
    pub fn numbers(&self, bytes: &[u8]) -> Vec<f64> {
        self.precision.decode(bytes)
    }
}

/// Bytes of the parts of a dot product, over the shards of θ or over one list of any length.
fn parts_bytes(shards: &[usize]) -> u64 {
    let of_theta: usize = shards.iter().map(|&elements| groups(elements)).sum();
    PART_BYTES * (WORKGROUP * of_theta.max(MOST_GROUPS)) as u64
}

/// Workgroups that sum a shard.
fn groups(elements: usize) -> usize {
    elements.div_ceil(WORKGROUP * ALONE).clamp(1, MOST_GROUPS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GpuOptions;
    use crate::graph::{Initial, ParameterInfo};

    const RESULT: Slot = Slot(FREE);
    const SIZE: Slot = Slot(FREE + 1);
    const FACTOR: Slot = Slot(FREE + 2);

    /// Reproducible numbers of either sign whose sizes span six orders, as f32 has them.
    fn numbers(count: usize, seed: u64) -> Vec<f64> {
        let mut state = seed;
        let mut next = || {
            // Knuth's MMIX generator.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        (0..count)
            .map(|_| f64::from(((2.0 * next() - 1.0) * 10f64.powf(6.0 * next() - 3.0)) as f32))
            .collect()
    }

    fn layout(elements: usize) -> ThetaLayout {
        let initial = Initial::Constant(0.0);
        let parameter = ParameterInfo { name: "x".to_owned(), shape: vec![elements], initial, group: 0 };
        // Shards of 1,024 rows, so that long vectors have several.
        ThetaLayout::new(&[parameter], 4096).unwrap()
    }

    #[test]
    fn sums_and_dot_products_keep_twice_the_digits_of_their_vectors() {
        let gpu = Gpu::new(&GpuOptions::default()).unwrap();
        for precision in [Precision::F32, Precision::F64] {
            for elements in [1, 3, 63, 65, 257, 5000] {
                let layout = layout(elements);
                let mut space = Space::new(&gpu, &layout.shards, precision).unwrap();
                let (x, y) = (space.vector().unwrap(), space.vector().unwrap());
                let (of_x, of_y) = (numbers(elements, 1), numbers(elements, 2));
                space.write_vector(&x, &layout, &of_x).unwrap();
                space.write_vector(&y, &layout, &of_y).unwrap();
                space.write(&[(FACTOR, 0.5)]);
                space.dot(RESULT, FACTOR, &x, &y).unwrap();
                space.absolute_sum(SIZE, &x).unwrap();
                let [dot, absolute] = space.read([RESULT, SIZE]).unwrap();
                let terms = || of_x.iter().zip(&of_y).map(|(x, y)| 0.5 * x * y);
                let (wanted, size): (f64, f64) = (terms().sum(), terms().map(f64::abs).sum());
                let sizes: f64 = of_x.iter().map(|x| x.abs()).sum();
                // Pairs of f32 have 48 bits, of which products lose some, and f64's own sums on the host lose as much; one
                // rounding of f32 alone would be 6e-8.
                assert!((dot - wanted).abs() <= 1e-12 * size, "{precision} {elements}: {dot} for {wanted}");
                assert!(
                    (absolute - sizes).abs() <= 1e-12 * sizes,
                    "{precision} {elements}: {absolute} for {sizes}"
                );
                space.scale_add(&y, ONE, &x, FACTOR, MINUS_ONE).unwrap();
                let sums = space.read_vector(&y, &layout).unwrap();
                let rounding = 4.0 * space.roundoff();
                for ((sum, x), y) in sums.iter().zip(&of_x).zip(&of_y) {
                    let (wanted, size) = (y - 0.5 * x, y.abs() + 0.5 * x.abs());
                    assert!(
                        (sum - wanted).abs() <= rounding * size,
                        "{precision} {elements}: {sum} for {wanted}"
                    );
                }
            }
        }
    }
}
