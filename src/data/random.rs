//! Random numbers on the host: the same on every platform and from every starting point.

/// SplitMix64 (Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators*, 2014): the n-th number
/// is a hash of a counter, so streams with different keys need no warm-up and no jump-ahead.
pub(super) struct Random {
    counter: u64,
}

/// 2⁶⁴ divided by the golden ratio, the increment of the paper.
const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

impl Random {
    /// The stream of numbers that belongs to `seed` and `stream`, an epoch for example.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        Random { counter: mix(mix(seed.wrapping_add(INCREMENT)).wrapping_add(stream)) }
    }

    fn next(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(INCREMENT);
        mix(self.counter)
    }

    /// Uniform over `0..bound`, without the bias of a remainder (Lemire, *Fast Random Integer Generation in an
    /// Interval*, 2019). `bound` must not be zero.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        let mut product = (self.next() >> 32) * u64::from(bound);
        if (product as u32) < bound {
            let threshold = bound.wrapping_neg() % bound;
            while (product as u32) < threshold {
                product = (self.next() >> 32) * u64::from(bound);
            }
        }
        (product >> 32) as u32
    }

    /// Two independent numbers of the standard normal distribution (Box and Muller, 1958). Computed in f64, so
    /// that the last bit of a platform's logarithm or cosine hardly ever reaches the f32.
    pub(super) fn normals(&mut self) -> [f32; 2] {
        let radius = (-2.0 * self.open_unit().ln()).sqrt();
        let (sine, cosine) = (std::f64::consts::TAU * self.open_unit()).sin_cos();
        [(radius * cosine) as f32, (radius * sine) as f32]
    }

    /// Uniform over (0, 1): the midpoints of 2⁵² equal intervals, so that a logarithm of it is finite.
    fn open_unit(&mut self) -> f64 {
        ((self.next() >> 12) as f64 + 0.5) * 2f64.powi(-52)
    }
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Fills `values` with numbers of mean 0 and variance 1 that are nearly normal: each is the sum of four uniform
/// ones, at most 3.46. All cores take part, and none changes what comes out.
pub(super) fn fill_nearly_normal(values: &mut [f32], seed: u64, stream: u64) {
    /// The standard deviation of the sum of four numbers uniform on 0..65536.
    const DEVIATION: f32 = 37_837.23;
    let start = Random::new(seed, stream).counter;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = values.len().div_ceil(cores).max(1);
    std::thread::scope(|scope| {
        for (core, part) in values.chunks_mut(share).enumerate() {
            let before = ((core * share) as u64).wrapping_mul(INCREMENT);
            let mut random = Random { counter: start.wrapping_add(before) };
            scope.spawn(move || {
                for value in part {
                    let bits = random.next();
                    let sum: u64 = [0, 16, 32, 48].map(|shift| (bits >> shift) & 0xffff).iter().sum();
                    *value = (sum as f32 - 131_070.0) / DEVIATION;
                }
            });
        }
    });
}

/// Fills `order` with a random permutation of `0..rows` that depends on nothing but `rows`, `seed` and `stream`
/// (Fisher and Yates). Allocates only where `order` has less room than `rows`.
pub(super) fn permutation(order: &mut Vec<u32>, rows: u32, seed: u64, stream: u64) {
    order.clear();
    order.extend(0..rows);
    let mut random = Random::new(seed, stream);
    for last in (1..rows).rev() {
        order.swap(last as usize, random.below(last + 1) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_reference_implementation() {
        // The first outputs of Vigna's splitmix64.c for the state 1234567.
        let mut random = Random { counter: 1234567 };
        let numbers = [random.next(), random.next(), random.next()];
        assert_eq!(numbers, [6457827717110365317, 3203168211198807973, 9817491932198370423]);
    }

    #[test]
    fn permutation_holds_every_row_once_and_follows_its_key() {
        let shuffled = |rows, seed, stream| {
            let mut order = vec![7; 3];
            permutation(&mut order, rows, seed, stream);
            order
        };
        for rows in [1, 2, 63, 1000] {
            let mut sorted = shuffled(rows, 5, 9);
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..rows), "{rows} rows");
        }
        assert_eq!(shuffled(1000, 5, 9), shuffled(1000, 5, 9));
        assert_ne!(shuffled(1000, 5, 9), shuffled(1000, 5, 10));
        assert_ne!(shuffled(1000, 5, 9), shuffled(1000, 6, 9));
        // Seed and stream are not interchangeable, and neighbours of both do not meet.
        assert_ne!(shuffled(1000, 5, 9), shuffled(1000, 9, 5));
        assert_ne!(shuffled(1000, 5, 9), shuffled(1000, 6, 8));
    }

    #[test]
    fn every_place_of_a_permutation_is_equally_likely() {
        let mut counts = [[0u32; 5]; 5];
        let mut order = Vec::new();
        for seed in 0..10_000 {
            permutation(&mut order, 5, seed, 0);
            for (place, row) in order.iter().enumerate() {
                counts[place][*row as usize] += 1;
            }
        }
        // 2,000 expected each, with a standard deviation of 40: five of them leave one run in 10⁵ outside.
        assert!(counts.as_flattened().iter().all(|count| count.abs_diff(2000) < 200), "{counts:?}");
    }

    #[test]
    fn nearly_normal_numbers_have_mean_0_and_variance_1_whoever_makes_them() {
        let mut numbers = vec![0.0; 100_001];
        fill_nearly_normal(&mut numbers, 1, 2);
        let moment =
            |power| numbers.iter().map(|&x| f64::from(x).powi(power)).sum::<f64>() / numbers.len() as f64;
        // As below; the fourth moment of a sum of four uniform numbers is 3 − 1.2/4.
        for (power, expected, tolerance) in [(1, 0.0, 0.016), (2, 1.0, 0.023), (3, 0.0, 0.06), (4, 2.7, 0.16)]
        {
            assert!((moment(power) - expected).abs() < tolerance, "moment {power}: {}", moment(power));
        }
        // The same numbers one after the other, so that the number of cores does not matter.
        let mut random = Random::new(1, 2);
        let sum = |bits: u64| [0, 16, 32, 48].map(|shift| (bits >> shift) & 0xffff).iter().sum::<u64>();
        let alone: Vec<f32> =
            (0..numbers.len()).map(|_| (sum(random.next()) as f32 - 131_070.0) / 37_837.23).collect();
        assert_eq!(numbers, alone);
    }

    #[test]
    fn normals_have_the_moments_of_the_normal_distribution() {
        let mut random = Random::new(1, 2);
        let numbers: Vec<f64> = (0..50_000).flat_map(|_| random.normals()).map(f64::from).collect();
        let moment = |power| numbers.iter().map(|x| x.powi(power)).sum::<f64>() / numbers.len() as f64;
        // Standard errors of the moments of 10⁵ numbers: 0.003, 0.0045, 0.012 and 0.031; five of each.
        for (power, expected, tolerance) in [(1, 0.0, 0.016), (2, 1.0, 0.023), (3, 0.0, 0.06), (4, 3.0, 0.16)]
        {
            let found = moment(power);
            assert!((found - expected).abs() < tolerance, "moment {power}: {found}, expected {expected}");
        }
    }
}
