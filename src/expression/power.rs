//! aᵇ. A GPU's own power is exp2(b·log2 a), which is undefined for a < 0; whole exponents are products instead.

use super::build::{Builder, said};
use super::value::{Said, Value};
use crate::Result;
use crate::graph::Var;

/// Whole exponents up to here are exact in f64.
const LARGEST_WHOLE: f64 = 9_007_199_254_740_992.0;

impl Builder {
    /// aᵇ element by element.
    pub(super) fn power(&mut self, base: Value, exponent: Value) -> Said<Value> {
        self.agree("`^`", &base, &exponent)?;
        if let Some(known) = base.zip(&exponent, f64::powf) {
            return Ok(known);
        }
        let made = match (&base, &exponent) {
            (Value::Node(base), Value::Known(exponents)) if exponents.data.iter().all(|&k| is_whole(k)) => {
                return self.whole_power(*base, &exponent, &exponents.data).map(Value::Node);
            }
            (Value::Node(base), _) if exponent.number() == Some(0.5) => self.graph.sqrt(*base),
            (Value::Known(bases), Value::Node(exponent)) if bases.data.iter().all(|&base| base > 0.0) => {
                let exponent = *exponent;
                let logarithm = self.node(base.map(f64::ln).unwrap_or(base))?;
                self.graph.mul(exponent, logarithm).and_then(|product| self.graph.exp(product))
            }
            _ => {
                let (base, exponent) = (self.node(base)?, self.node(exponent)?);
                self.graph.pow(base, exponent)
            }
        };
        made.map(Value::Node).map_err(said)
    }

    /// By repeated squaring. Where exponents differ, a factor that an element has not is 1 there, so that none meets
    /// the derivative of another.
    fn whole_power(&mut self, base: Var, exponent: &Value, exponents: &[f64]) -> Said<Var> {
        let bit_of = |k: f64, bit: u32| (k.abs() as u64 >> bit) & 1 == 1;
        let highest = exponents.iter().map(|k| k.abs() as u64).max().unwrap_or(0);
        let masks: Vec<Option<Var>> = (0..u64::BITS - highest.leading_zeros())
            .map(|bit| self.mask(exponent, |k| bit_of(k, bit)))
            .collect::<Said<_>>()?;
        let negative = self.mask(exponent, |k| k < 0.0)?;
        let ones = self.node(exponent.map(|_| 1.0).unwrap_or(Value::scalar(1.0)))?;
        self.product_of_squares(base, ones, &masks, negative).map_err(said)
    }

    /// 1 where `wanted` holds, else 0; none where it holds nowhere.
    fn mask(&mut self, exponent: &Value, wanted: impl Fn(f64) -> bool) -> Said<Option<Var>> {
        let mask = exponent.map(|k| f64::from(wanted(k)));
        let Some(mask @ Value::Known(_)) = mask else { return Ok(None) };
        let var = self.node(mask)?;
        Ok((self.graph.constant_value(var) != Some(0.0)).then_some(var))
    }

    fn product_of_squares(
        &mut self,
        base: Var,
        ones: Var,
        masks: &[Option<Var>],
        negative: Option<Var>,
    ) -> Result<Var> {
        let graph = &mut self.graph;
        // Broadcast: a scalar base of a vector of exponents becomes a vector here.
        let mut square = graph.mul(base, ones)?;
        let shape = graph.shape(square).clone();
        let mut product = graph.broadcast_to(ones, shape)?;
        for (bit, mask) in masks.iter().enumerate() {
            if bit > 0 {
                square = graph.mul(square, square)?;
            }
            let factor = match mask {
                None => continue,
                Some(mask) if graph.constant_value(*mask).is_some() => square,
                Some(mask) => graph.select(*mask, square, ones)?,
            };
            product = graph.mul(product, factor)?;
        }
        match negative {
            None => Ok(product),
            Some(mask) if graph.constant_value(mask).is_some() => graph.reciprocal(product),
            Some(mask) => {
                // 1 under the fraction where it is not wanted: 0·∞ would spoil the derivative there.
                let divisor = graph.select(mask, product, ones)?;
                let fraction = graph.reciprocal(divisor)?;
                graph.select(mask, fraction, product)
            }
        }
    }
}

fn is_whole(k: f64) -> bool {
    k.fract() == 0.0 && k.abs() <= LARGEST_WHOLE
}
