//! The table of shapes: each a name, its parameters, and its factor of the learning rate as a function of the step.
//!
//! A new schedule is one row here.

use std::f64::consts::PI;

use super::{Argument, Span};

/// How the learning rate can go over a piece of a schedule.
#[derive(Debug)]
pub(super) struct Shape {
    /// The name that users write.
    pub name: &'static str,
    pub parameters: &'static [Parameter],
    /// Whether its factors depend on how long it lasts.
    pub needs_length: bool,
    /// Whether its first argument is how long it lasts, so that it takes no `for`.
    pub lasts_its_first: bool,
    /// Whether it goes by the loss, as a plateau does: it then lasts to the end of the run.
    pub watches: bool,
    pub factor: fn(&At) -> f64,
    /// One line on what it does.
    pub doc: &'static str,
    /// What may be typed.
    pub example: &'static str,
}

#[derive(Debug)]
pub(super) struct Parameter {
    /// The word before its value; for messages alone where it is bare.
    pub name: &'static str,
    /// Whether its value stands right after the shape's name, without its own.
    pub bare: bool,
    pub kind: Kind,
    /// `None`: it must be said.
    pub default: Option<Argument>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Number { allowed: fn(f64) -> bool, words: &'static str },
    Span,
}

/// A place in a piece.
pub(super) struct At<'a> {
    /// Steps of the piece before this one.
    pub step: f64,
    /// Steps of the piece.
    pub length: f64,
    pub parameters: &'static [Parameter],
    pub values: &'a [f64],
}

impl At<'_> {
    /// The value of the parameter `name`, spans in steps.
    fn of(&self, name: &str) -> f64 {
        let place = self.parameters.iter().position(|parameter| parameter.name == name);
        place.and_then(|place| self.values.get(place)).copied().unwrap_or(f64::NAN)
    }

    /// How much of the piece is over.
    fn part(&self) -> f64 {
        share(self.step, self.length)
    }
}

const POSITIVE: Kind = Kind::Number { allowed: |x| x > 0.0, words: "a number above 0" };
const NOT_NEGATIVE: Kind = Kind::Number { allowed: |x| x >= 0.0, words: "a number of at least 0" };
const DECAY: Kind =
    Kind::Number { allowed: |x| x > 0.0 && x <= 1.0, words: "a number above 0 and of at most 1" };
const SHARE: Kind =
    Kind::Number { allowed: |x| (0.0..1.0).contains(&x), words: "a number from 0 to below 1" };
const COUNT: Kind =
    Kind::Number { allowed: |x| x >= 0.0 && x.fract() == 0.0, words: "a whole number of at least 0" };
const MULTIPLE: Kind =
    Kind::Number { allowed: |x| x >= 1.0 && x.fract() == 0.0, words: "a whole number of at least 1" };

const fn bare(name: &'static str, kind: Kind, default: Option<f64>) -> Parameter {
    Parameter { bare: true, ..named(name, kind, default) }
}

const fn named(name: &'static str, kind: Kind, default: Option<f64>) -> Parameter {
    let default = match default {
        Some(number) => Some(Argument::Number(number)),
        None => None,
    };
    Parameter { name, bare: false, kind, default }
}

const fn span(name: &'static str, bare: bool, default: Option<Span>) -> Parameter {
    let default = match default {
        Some(span) => Some(Argument::Span(span)),
        None => None,
    };
    Parameter { name, bare, kind: Kind::Span, default }
}

/// What a descent ends at, as a factor.
const TO: Parameter = named("to", NOT_NEGATIVE, Some(0.0));

const PLAIN: Shape = Shape {
    name: "",
    parameters: &[],
    needs_length: false,
    lasts_its_first: false,
    watches: false,
    factor: |_| 1.0,
    doc: "",
    example: "",
};

pub(super) const CONSTANT: Shape = Shape {
    name: "constant",
    parameters: &[bare("factor", NOT_NEGATIVE, Some(1.0))],
    factor: |at| at.of("factor"),
    doc: "the rate of --lr, or this factor of it",
    example: "constant 0.5",
    ..PLAIN
};

/// Goyal et al. 2017, §2.2, as PyTorch's LinearLR(start_factor = from, total_iters = LENGTH − 1).
const WARMUP: Shape = Shape {
    name: "warmup",
    parameters: &[span("length", true, None), named("from", NOT_NEGATIVE, Some(0.0))],
    lasts_its_first: true,
    factor: |at| {
        // From 0 the first step has its share already: a step of rate 0 would be no step.
        let start = if at.of("from") > 0.0 { at.of("from") } else { 1.0 / at.length.max(1.0) };
        let part = share(at.step, at.length - 1.0);
        start + (1.0 - start) * part
    },
    doc: "up to the whole rate in equal parts, the first 1/LENGTH of it or `from`, the last all of it",
    example: "warmup 500 then cosine",
    ..PLAIN
};

const STEP: Shape = Shape {
    name: "step",
    parameters: &[bare("factor", DECAY, None), span("every", false, None)],
    factor: |at| at.of("factor").powf((at.step / at.of("every")).floor()),
    doc: "times the factor after every LENGTH",
    example: "step 0.1 every 30 epochs",
    ..PLAIN
};

const EXPONENTIAL: Shape = Shape {
    name: "exponential",
    parameters: &[bare("factor", DECAY, None), span("every", false, Some(Span::Steps(1)))],
    factor: |at| at.of("factor").powf(at.step / at.of("every")),
    doc: "down smoothly, by the factor in every LENGTH",
    example: "exponential 0.95 every epoch",
    ..PLAIN
};

const GEOMETRIC: Shape = Shape {
    name: "geometric",
    parameters: &[named("from", POSITIVE, Some(1.0)), named("to", POSITIVE, None)],
    needs_length: true,
    factor: |at| {
        let part = share(at.step, at.length - 1.0);
        at.of("from").powf(1.0 - part) * at.of("to").powf(part)
    },
    doc: "in equal ratios from the one factor, at the first step, to the other, at the last; up or down",
    example: "geometric to 0.01",
    ..PLAIN
};

const POLYNOMIAL: Shape = Shape {
    name: "polynomial",
    parameters: &[bare("power", POSITIVE, Some(1.0)), TO],
    needs_length: true,
    factor: |at| toward(at.of("to"), (1.0 - at.part()).powf(at.of("power"))),
    doc: "down as (1 − what is over)^POWER; 1 is a straight line",
    example: "polynomial 2 to 0.01",
    ..PLAIN
};

const COSINE: Shape = Shape {
    name: "cosine",
    parameters: &[TO],
    needs_length: true,
    factor: |at| toward(at.of("to"), half_cosine(at.part())),
    doc: "down along half a cosine",
    example: "cosine to 0.01",
    ..PLAIN
};

/// SGDR, Loshchilov and Hutter 2017, eq. 5.
const RESTARTS: Shape = Shape {
    name: "restarts",
    parameters: &[span("length", true, None), named("times", MULTIPLE, Some(1.0)), TO],
    factor: |at| toward(at.of("to"), half_cosine(part_of_cycle(at))),
    doc: "cosines that begin again after LENGTH, each `times` as long as the one before (SGDR)",
    example: "restarts 10 epochs times 2",
    ..PLAIN
};

/// Smith and Topin 2018, in the two phases and with the defaults of PyTorch's OneCycleLR.
const ONE_CYCLE: Shape = Shape {
    name: "one-cycle",
    parameters: &[
        named("peak", SHARE, Some(0.3)),
        named("from", NOT_NEGATIVE, Some(1.0 / 25.0)),
        named("to", NOT_NEGATIVE, Some(1.0 / 25.0 / 1e4)),
    ],
    needs_length: true,
    factor: |at| {
        let (peak, end) = (at.of("peak") * at.length - 1.0, at.length - 1.0);
        if at.step <= peak {
            at.of("from") + (1.0 - at.of("from")) * (1.0 - half_cosine(share(at.step, peak)))
        } else {
            toward(at.of("to"), half_cosine(share(at.step - peak, end - peak)))
        }
    },
    doc: "up along a cosine from `from` to the whole rate, reached when `peak` of it is over, and down to `to`",
    example: "one-cycle",
    ..PLAIN
};

/// Robbins and Monro 1951. A stochastic descent converges with rates αₙ > 0 if αₙ → 0, Σ αₙ = ∞ (it can reach any
/// point, however far) and Σ αₙ² < ∞ (the noise that it gathers is finite); α/n is the classical choice.
const ROBBINS_MONRO: Shape = Shape {
    name: "1/n",
    parameters: &[span("every", false, Some(Span::Steps(1)))],
    factor: |at| 1.0 / (1.0 + at.step / at.of("every")),
    doc: "Robbins-Monro: 1/n of it at step n, or after every LENGTH: αₙ → 0, Σ αₙ = ∞, Σ αₙ² < ∞",
    example: "1/n every 10 epochs",
    ..PLAIN
};

/// PyTorch's ReduceLROnPlateau; what it does is in the plateau's state.
const PLATEAU: Shape = Shape {
    name: "plateau",
    parameters: &[
        bare("factor", DECAY, Some(0.1)),
        named("patience", COUNT, Some(10.0)),
        named("threshold", SHARE, Some(1e-4)),
        TO,
    ],
    watches: true,
    doc: "times the factor once the loss on the test rows (else the training loss) was no better, by `threshold` of it, \
          in more than `patience` evaluations in a row",
    example: "plateau 0.5 patience 3",
    ..PLAIN
};

/// Every shape; the first is what is done without a schedule.
pub(super) static SHAPES: &[Shape] = &[
    CONSTANT,
    WARMUP,
    STEP,
    EXPONENTIAL,
    GEOMETRIC,
    POLYNOMIAL,
    COSINE,
    RESTARTS,
    ONE_CYCLE,
    ROBBINS_MONRO,
    PLATEAU,
];

/// `step` as a part of `length`, from 0 to 1; all of it where there is no length.
fn share(step: f64, length: f64) -> f64 {
    if length > 0.0 { (step / length).clamp(0.0, 1.0) } else { 1.0 }
}

/// What is left of the way from 1 to `to` is `left`.
fn toward(to: f64, left: f64) -> f64 {
    to + (1.0 - to) * left
}

/// From 1 to 0 as `part` goes from 0 to 1.
fn half_cosine(part: f64) -> f64 {
    (1.0 + (PI * part).cos()) / 2.0
}

/// How much is over of the cycle that the step lies in. The piece's end is the end of a cycle, not the next one's start.
fn part_of_cycle(at: &At) -> f64 {
    let (mut length, times) = (at.of("length"), at.of("times"));
    let mut step = at.step;
    if times == 1.0 {
        step %= length;
    }
    while step >= length {
        step -= length;
        length *= times;
    }
    if step == 0.0 && at.step >= at.length { 1.0 } else { step / length }
}
