//! Schedules as text: `warmup 5% then cosine to 0.01`.
//!
//! One grammar for all shapes, read off their table: a name, its bare argument, then pairs of a word and its value in
//! any order, `for LENGTH` among them.

use std::fmt;
use std::iter::Peekable;
use std::str::{FromStr, SplitWhitespace};

use super::shapes::{Kind, Parameter, SHAPES, Shape};
use super::{Argument, Piece, Schedule, Span};
use crate::error::did_you_mean;
use crate::{Error, Result};

const THEN: &str = "then";
const FOR: &str = "for";

/// What `--schedule help` lists: each form with what it does.
///
/// ```
/// use downhill::schedule_help;
///
/// for (form, meaning) in schedule_help() {
///     println!("{form}: {meaning}");
/// }
/// assert!(schedule_help().iter().any(|(form, _)| form.starts_with("cosine")));
/// ```
pub fn schedule_help() -> Vec<(String, String)> {
    let grammar = [
        ("LENGTH", "`500` or `500 steps`, `10 epochs`, `5%` of the run; `epoch` is one"),
        ("… for LENGTH", "how long a piece lasts, in the place of the rest of the run"),
        ("A then B", "B after A, its steps counted from there, as `warmup 5% then cosine to 0.01`"),
        ("FACTOR", "of the learning rate that --lr says"),
    ];
    let shapes = SHAPES.iter().map(|shape| (form(shape), format!("{}: `{}`", shape.doc, shape.example)));
    let grammar = grammar.iter().map(|(form, meaning)| ((*form).to_owned(), (*meaning).to_owned()));
    shapes.chain(grammar).collect()
}

/// A shape as help shows it: `cosine [to 0]`, `step FACTOR every LENGTH`.
fn form(shape: &Shape) -> String {
    let mut form = shape.name.to_owned();
    for parameter in shape.parameters {
        let value = match (parameter.default, parameter.kind) {
            (Some(default), _) => default.to_string(),
            (None, Kind::Span) => "LENGTH".to_owned(),
            (None, Kind::Number { .. }) => "FACTOR".to_owned(),
        };
        let said = if parameter.bare { value } else { format!("{} {value}", parameter.name) };
        form += &if parameter.default.is_some() { format!(" [{said}]") } else { format!(" {said}") };
    }
    form
}

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let mut pieces = words.split(|word| *word == THEN).map(|words| parse_piece(&words.join(" ")));
        // Splitting gives one part at least.
        let first = pieces.next().unwrap_or_else(|| parse_piece(""))?;
        pieces.try_fold(Schedule { pieces: vec![first] }, |schedule, piece| {
            schedule.then(Schedule { pieces: vec![piece?] })
        })
    }
}

/// The words of a piece, and the piece for messages.
struct Words<'a> {
    text: &'a str,
    rest: Peekable<SplitWhitespace<'a>>,
}

fn parse_piece(text: &str) -> Result<Piece> {
    let mut words = Words { text, rest: text.split_whitespace().peekable() };
    let known: Vec<&str> = SHAPES.iter().map(|shape| shape.name).collect();
    let Some(name) = words.rest.next() else {
        return Err(Error::setting(
            "schedule",
            format!("there is a piece missing; known are {}", known.join(", ")),
        ));
    };
    let Some(shape) = SHAPES.iter().find(|shape| shape.name == name) else {
        return Err(Error::setting("schedule", did_you_mean(name, &known)));
    };
    let mut said: Vec<Option<Argument>> = vec![None; shape.parameters.len()];
    let mut lasts = None;
    if let Some(first) = shape.parameters.first().filter(|first| first.bare && words.value_follows()) {
        said[0] = Some(words.argument(first)?);
    }
    while let Some(word) = words.rest.next() {
        let place = shape.parameters.iter().position(|parameter| !parameter.bare && parameter.name == word);
        let again = match place {
            Some(place) => said[place].replace(words.argument(&shape.parameters[place])?).is_some(),
            None if word == FOR && takes_for(shape) => lasts.replace(words.span(FOR)?).is_some(),
            None => return Err(words.fail(&did_you_mean(word, &keywords(shape)))),
        };
        if again {
            return Err(words.fail(&format!("`{word}` is said twice")));
        }
    }
    let arguments = shape.parameters.iter().zip(said).map(|(parameter, said)| {
        let missing = || words.fail(&format!("`{}` is missing, as in `{}`", parameter.name, shape.example));
        said.or(parameter.default).ok_or_else(missing)
    });
    Ok(Piece { shape, arguments: arguments.collect::<Result<_>>()?, lasts })
}

/// Whether it may be said how long the shape lasts.
fn takes_for(shape: &Shape) -> bool {
    !shape.lasts_its_first && !shape.watches
}

/// The words that may follow a shape's name.
fn keywords(shape: &Shape) -> Vec<&'static str> {
    let named = shape.parameters.iter().filter(|parameter| !parameter.bare).map(|parameter| parameter.name);
    named.chain(takes_for(shape).then_some(FOR)).chain([THEN]).collect()
}

impl Words<'_> {
    fn fail(&self, message: &str) -> Error {
        Error::setting("schedule", format!("`{}`: {message}", self.text))
    }

    /// Whether the next word is a value, not a word before one.
    fn value_follows(&mut self) -> bool {
        let starts_as_number =
            |word: &str| word.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
        self.rest
            .peek()
            .is_some_and(|word| starts_as_number(word) || UNITS.iter().any(|(unit, _)| unit == word))
    }

    fn argument(&mut self, parameter: &Parameter) -> Result<Argument> {
        match parameter.kind {
            Kind::Span => self.span(parameter.name).map(Argument::Span),
            Kind::Number { allowed, words } => {
                let word = self.rest.next().unwrap_or("nothing");
                let number = word.parse().ok().filter(|number: &f64| number.is_finite() && allowed(*number));
                let wrong = || self.fail(&format!("{} must be {words}, not `{word}`", parameter.name));
                number.map(Argument::Number).ok_or_else(wrong)
            }
        }
    }

    /// A length: a number with or without a unit, a percentage, or a unit that is meant once.
    fn span(&mut self, name: &str) -> Result<Span> {
        let word = self.rest.next().unwrap_or("nothing");
        let unit = |word: &str| UNITS.iter().find(|(unit, _)| *unit == word).map(|(_, make)| *make);
        let span = match (unit(word), word.strip_suffix('%')) {
            (Some(make), _) => make(1.0),
            (None, Some(percent)) => {
                percent.parse().ok().filter(|percent| *percent <= 100.0).and_then(positive(Span::Percent))
            }
            (None, None) => {
                let make = self.rest.peek().and_then(|next| unit(next));
                if make.is_some() {
                    self.rest.next();
                }
                word.parse().ok().and_then(make.unwrap_or(steps))
            }
        };
        let wrong = || {
            let forms = "`500 steps`, `10 epochs` or `5%`";
            self.fail(&format!("{name} must be a length such as {forms}, not `{word}`"))
        };
        span.ok_or_else(wrong)
    }
}

type MakeSpan = fn(f64) -> Option<Span>;

const UNITS: [(&str, MakeSpan); 4] =
    [("steps", steps), ("step", steps), ("epochs", epochs), ("epoch", epochs)];

fn steps(number: f64) -> Option<Span> {
    /// Up to here an f64 holds every whole number.
    const MOST: f64 = 9_007_199_254_740_992.0;
    let whole = (1.0..=MOST).contains(&number) && number.fract() == 0.0;
    whole.then_some(Span::Steps(number as u64))
}

fn epochs(number: f64) -> Option<Span> {
    positive(Span::Epochs)(number)
}

fn positive(make: fn(f64) -> Span) -> impl Fn(f64) -> Option<Span> {
    move |number| (number.is_finite() && number > 0.0).then(|| make(number))
}

/// As it can be read again; what is as by default is left out.
impl fmt::Display for Schedule {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, piece) in self.pieces.iter().enumerate() {
            let before = if place == 0 { "" } else { " then " };
            write!(out, "{before}{piece}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.shape.name)?;
        for (parameter, argument) in self.shape.parameters.iter().zip(&self.arguments) {
            match parameter.default {
                Some(default) if default == *argument => {}
                _ if parameter.bare => write!(out, " {argument}")?,
                _ => write!(out, " {} {argument}", parameter.name)?,
            }
        }
        self.lasts.map_or(Ok(()), |span| write!(out, " {FOR} {span}"))
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Argument::Number(number) => number.fmt(out),
            Argument::Span(span) => span.fmt(out),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Span::Steps(1) => out.write_str("step"),
            Span::Steps(steps) => write!(out, "{steps} steps"),
            Span::Epochs(1.0) => out.write_str("epoch"),
            Span::Epochs(epochs) => write!(out, "{epochs} epochs"),
            Span::Percent(percent) => write!(out, "{percent}%"),
        }
    }
}
