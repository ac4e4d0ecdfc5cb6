//! The block that an iteration keeps on the device, and the loop that reads it once a chunk; its twin is `Block` in
//! `shaders/linear/block.wgsl`.

use crate::Result;
use crate::gpu::Buffer;
use crate::linear::device::{Device, Launches};

/// Iterations whose history the block keeps: the most of a chunk.
const HISTORY: u64 = 64;

/// Iterations of the first chunk; each later one has twice as many as the one before.
const FIRST_CHUNK: u64 = 8;

/// Launches of a submit, beyond which a chunk is shorter: a driver resets a device whose submit lasts seconds.
const LAUNCHES: u64 = 16_384;

/// Scalars of the block.
const SCALARS: usize = 14;

/// Bytes before the scalars.
const HEAD: usize = 16;

/// Why a block says that it stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// The residual that the device knows is within the target.
    Converged,
    /// A direction has no positive curvature.
    Curved,
}

const STOPS: [Stop; 2] = [Stop::Converged, Stop::Curved];

/// The scalar that is held against the first, the target.
pub(super) const RESIDUAL: usize = 1;

/// What a block said.
pub(super) struct Said {
    pub iterations: u64,
    pub stop: Option<Stop>,
    pub scalars: Vec<f64>,
    /// The two numbers of each iteration of the chunk.
    pub history: Vec<[f64; 2]>,
}

/// A block on a device.
pub(super) struct Block {
    pub buffer: Buffer,
    bytes: u64,
}

impl Block {
    pub fn new(device: &Device) -> Result<Self> {
        let bytes = HEAD as u64 + device.number.bytes() * (SCALARS as u64 + 2 * HISTORY);
        Ok(Block { buffer: device.storage(bytes)?, bytes })
    }

    /// Starts anew with these first scalars.
    pub fn start(&self, device: &Device, scalars: &[f64]) -> Result<()> {
        let mut bytes = vec![0; HEAD];
        bytes.extend(device.number.encode(scalars));
        bytes.resize(self.bytes as usize, 0);
        device.gpu.write_buffer(self.buffer.raw(), 0, &bytes)
    }

    /// Makes iterations until the block stops, `limit` are made or `watch`, which sees every chunk, says that it is enough.
    pub fn run(
        &self,
        device: &Device,
        iteration: &Launches,
        limit: u64,
        mut watch: impl FnMut(&Said) -> bool,
    ) -> Result<Said> {
        let longest = HISTORY.min((LAUNCHES / iteration.len().max(1)).max(1));
        let (mut done, mut chunk) = (0, FIRST_CHUNK.min(longest));
        loop {
            let times = chunk.min(limit - done);
            iteration.submit(device.gpu, times);
            let said = self.read(device, done)?;
            if watch(&said)
                || said.stop.is_some()
                || said.iterations >= limit
                || said.iterations < done + times
            {
                return Ok(said);
            }
            done = said.iterations;
            chunk = longest.min(2 * chunk);
        }
    }

    pub(super) fn read(&self, device: &Device, before: u64) -> Result<Said> {
        let bytes = device.read_bytes(&self.buffer, self.bytes)?;
        let (head, numbers) = bytes.split_at(HEAD);
        let [iterations, stop, ending, _] = *bytemuck::pod_collect_to_vec::<u8, u32>(head) else {
            return Ok(Said { iterations: 0, stop: None, scalars: Vec::new(), history: Vec::new() });
        };
        let numbers = device.number.decode(numbers);
        let (scalars, history) = numbers.split_at(SCALARS);
        let iterations = u64::from(iterations);
        let place = |number: u64| 2 * (number % HISTORY) as usize;
        let pairs = (before..iterations).map(|number| [history[place(number)], history[place(number) + 1]]);
        Ok(Said {
            iterations,
            stop: (stop.max(ending) as usize).checked_sub(1).and_then(|number| STOPS.get(number)).copied(),
            scalars: scalars.to_vec(),
            history: pairs.collect(),
        })
    }
}
