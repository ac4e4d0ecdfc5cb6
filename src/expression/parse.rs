//! From words to instructions in postfix order, by precedence climbing (Richards 1979).
//!
//! ```text
//! text    = { [name "="] sum ";" }
//! sum     = product { ("+" | "-") product }
//! product = signed { ("*" | "/") signed }
//! signed  = { "-" | "+" } power
//! power   = item [ "^" signed ]
//! item    = atom { "[" index "]" | "[" [sum] ":" [sum] "]" }
//! atom    = number | name | name "(" list ")" | "(" sum ")" | "[" list "]"
//! ```

use super::Fault;
use super::token::{Token, Tokens};

/// Parentheses, brackets and powers within one another: what the parser's own stack holds with ease.
const MOST_NESTED: usize = 200;

/// One step of the stack machine, and the byte of the text that it stands for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Instruction<'a> {
    pub at: usize,
    pub action: Action<'a>,
}

/// What it does with the values on the stack.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Action<'a> {
    Number(f64),
    Name(&'a str),
    Negate,
    /// `+ - * / ^` of the two on top.
    Operator(char),
    Call {
        name: &'a str,
        arguments: usize,
    },
    /// A vector of so many scalars.
    Vector(usize),
    Index,
    /// The bounds that are there are on the stack, above the vector.
    Slice {
        from: bool,
        to: bool,
    },
    /// The value on top gets a name.
    Define(&'a str),
}

/// The instructions of a text. If it ends in a value, that stays on the stack.
#[derive(Debug)]
pub(super) struct Code<'a> {
    pub instructions: Vec<Instruction<'a>>,
    /// Where that value begins.
    pub value: Option<usize>,
    /// Where the text ends.
    pub end: usize,
}

struct Parser<'a> {
    tokens: Tokens<'a>,
    /// The word that comes next, and where.
    next: Token<'a>,
    at: usize,
    nested: usize,
    code: Vec<Instruction<'a>>,
}

/// Reads definitions and, at the end, at most one value.
pub(super) fn parse(text: &str) -> Result<Code<'_>, Fault> {
    let mut parser =
        Parser { tokens: Tokens::new(text), next: Token::End, at: 0, nested: 0, code: Vec::new() };
    parser.advance()?;
    let mut value = None;
    while parser.next != Token::End {
        if let Some(at) = value {
            return Err(Fault::new(at, "only the last statement may be without a name"));
        }
        let at = parser.at;
        match parser.defined_name()? {
            Some(name) => {
                parser.sum()?;
                parser.emit(at, Action::Define(name));
            }
            None => {
                parser.sum()?;
                value = Some(at);
            }
        }
        match parser.next {
            Token::Sign(';') => parser.advance()?,
            Token::End => {}
            Token::Number(_) | Token::Name(_) | Token::Sign('(' | '[') => {
                return Err(parser.fault("an operator is missing before"));
            }
            _ => return Err(parser.fault("expected an operator, `;` or the end, not")),
        }
    }
    Ok(Code { instructions: parser.code, value, end: text.len() })
}

impl<'a> Parser<'a> {
    fn advance(&mut self) -> Result<(), Fault> {
        (self.at, self.next) = self.tokens.next()?;
        Ok(())
    }

    fn emit(&mut self, at: usize, action: Action<'a>) {
        self.code.push(Instruction { at, action });
    }

    /// `message`, and the word that comes next.
    fn fault(&self, message: &str) -> Fault {
        let word = match self.next {
            Token::Number(number) => format!("`{number}`"),
            Token::Name(name) => format!("`{name}`"),
            Token::Sign(sign) => format!("`{sign}`"),
            Token::End => "the end".to_owned(),
        };
        Fault::new(self.at, format!("{message} {word}"))
    }

    fn takes(&mut self, sign: char) -> Result<bool, Fault> {
        let found = self.next == Token::Sign(sign);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, sign: char, after: &str) -> Result<(), Fault> {
        match self.takes(sign)? {
            true => Ok(()),
            false => Err(self.fault(&format!("expected `{sign}` {after}, not"))),
        }
    }

    /// The name that a statement defines, past its `=`.
    fn defined_name(&mut self) -> Result<Option<&'a str>, Fault> {
        let Token::Name(name) = self.next else { return Ok(None) };
        if self.tokens.clone().next().map(|(_, token)| token) != Ok(Token::Sign('=')) {
            return Ok(None);
        }
        self.advance()?;
        self.advance()?;
        Ok(Some(name))
    }

    fn sum(&mut self) -> Result<(), Fault> {
        self.operators("+-", Self::product)
    }

    fn product(&mut self) -> Result<(), Fault> {
        self.operators("*/", Self::signed)
    }

    /// `operand`s with operators of one precedence between them, from the left.
    fn operators(&mut self, signs: &str, operand: fn(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        operand(self)?;
        while let Token::Sign(sign) = self.next
            && signs.contains(sign)
        {
            let at = self.at;
            self.advance()?;
            operand(self)?;
            self.emit(at, Action::Operator(sign));
        }
        Ok(())
    }

    fn signed(&mut self) -> Result<(), Fault> {
        let (at, mut negative) = (self.at, false);
        while let Token::Sign(sign @ ('-' | '+')) = self.next {
            negative ^= sign == '-';
            self.advance()?;
        }
        self.power()?;
        if negative {
            self.emit(at, Action::Negate);
        }
        Ok(())
    }

    fn power(&mut self) -> Result<(), Fault> {
        self.nested += 1;
        if self.nested > MOST_NESTED {
            return Err(Fault::new(self.at, format!("nested more than {MOST_NESTED} deep")));
        }
        self.item()?;
        let at = self.at;
        if self.takes('^')? {
            self.signed()?;
            self.emit(at, Action::Operator('^'));
        }
        self.nested -= 1;
        Ok(())
    }

    fn item(&mut self) -> Result<(), Fault> {
        self.atom()?;
        while self.next == Token::Sign('[') {
            let at = self.at;
            self.advance()?;
            let from = self.next != Token::Sign(':');
            if from {
                self.sum()?;
            }
            if self.takes(':')? {
                let to = self.next != Token::Sign(']');
                if to {
                    self.sum()?;
                }
                self.emit(at, Action::Slice { from, to });
            } else {
                self.emit(at, Action::Index);
            }
            self.expect(']', "after an index")?;
        }
        Ok(())
    }

    fn atom(&mut self) -> Result<(), Fault> {
        let (at, token) = (self.at, self.next);
        match token {
            Token::Number(number) => {
                self.advance()?;
                self.emit(at, Action::Number(number));
            }
            Token::Name(name) => {
                self.advance()?;
                if self.takes('(')? {
                    let arguments = self.list(')', "after the arguments")?;
                    self.emit(at, Action::Call { name, arguments });
                } else {
                    self.emit(at, Action::Name(name));
                }
            }
            Token::Sign('(') => {
                self.advance()?;
                self.sum()?;
                self.expect(')', "for the parenthesis that is open")?;
            }
            Token::Sign('[') => {
                self.advance()?;
                match self.list(']', "after the elements")? {
                    0 => return Err(Fault::new(at, "a vector has at least one element")),
                    elements => self.emit(at, Action::Vector(elements)),
                }
            }
            _ => return Err(self.fault("expected a number, a name, `(` or `[`, not")),
        }
        Ok(())
    }

    /// Values with commas between them up to `close`; their number.
    fn list(&mut self, close: char, after: &str) -> Result<usize, Fault> {
        let mut count = 0;
        while count == 0 || self.takes(',')? {
            if count == 0 && self.next == Token::Sign(close) {
                break;
            }
            self.sum()?;
            count += 1;
        }
        self.expect(close, after)?;
        Ok(count)
    }
}
