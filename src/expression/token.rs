//! The words of the language: numbers, names and signs.

use super::Fault;

/// A word.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Token<'a> {
    Number(f64),
    Name(&'a str),
    Sign(char),
    End,
}

/// Where words are read from.
#[derive(Clone)]
pub(super) struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    pub fn new(text: &'a str) -> Self {
        Tokens { text, at: 0 }
    }

    /// The next word and the byte at which it begins.
    pub fn next(&mut self) -> Result<(usize, Token<'a>), Fault> {
        self.skip(char::is_whitespace);
        let (at, rest) = (self.at, self.rest());
        let Some(first) = rest.chars().next() else { return Ok((at, Token::End)) };
        let token = if first.is_ascii_digit() || (first == '.' && digits(&rest[1..]) > 0) {
            self.number()
        } else if is_letter(first) {
            self.skip(|c| is_letter(c) || c.is_numeric());
            Token::Name(&self.text[at..self.at])
        } else if "+-*/^()[],:;=".contains(first) {
            self.at += first.len_utf8();
            Token::Sign(first)
        } else {
            return Err(Fault::new(at, format!("`{}` means nothing here", first.escape_debug())));
        };
        Ok((at, token))
    }

    /// Digits, a point, digits, and an exponent where digits follow: `2e` is 2 and the name `e`.
    fn number(&mut self) -> Token<'a> {
        let start = self.at;
        self.at += digits(self.rest());
        if self.rest().starts_with('.') {
            self.at += 1;
            self.at += digits(self.rest());
        }
        if let Some(exponent) = self.rest().strip_prefix(['e', 'E']) {
            let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            let sign = exponent.len() - unsigned.len();
            if digits(unsigned) > 0 {
                self.at += 1 + sign + digits(unsigned);
            }
        }
        // Whatever has this form is a number to Rust too; too large a one is infinite, which the graph refuses.
        Token::Number(self.text[start..self.at].parse().unwrap_or(f64::NAN))
    }

    fn skip(&mut self, mut wanted: impl FnMut(char) -> bool) {
        let rest = self.rest();
        self.at += rest.find(|c| !wanted(c)).unwrap_or(rest.len());
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }
}

fn is_letter(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

/// How many digits `text` begins with.
fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}
