//! A tree and an event to a value.

use super::Attributes;
use super::error::EvaluationError;
use super::function;
use super::parser::{Binary, Node};
use super::value::{Kind, Value};

/// What an evaluation came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluated<'a> {
    /// The value; after an error the zero value of its type, or what the failing function answers with.
    pub value: Value<'a>,
    /// What went wrong, in order.
    pub errors: Vec<EvaluationError>,
}

pub(super) fn evaluate<'a>(root: &'a Node, event: &'a dyn Attributes) -> Evaluated<'a> {
    let mut run = Run { event, errors: Vec::new() };
    let value = run.node(root).unwrap_or_else(Failed::value);
    Evaluated { value, errors: run.errors }
}

/// A value that an operator must not go on with: its error is noted already.
pub(super) enum Failed<'a> {
    /// An attribute that is not there has no type of its own.
    Missing,
    /// With what the operator or function answers all the same.
    With(Value<'a>),
}

impl<'a> Failed<'a> {
    fn value(self) -> Value<'a> {
        match self {
            Self::Missing => Kind::Boolean.zero(),
            Self::With(value) => value,
        }
    }
}

pub(super) type Outcome<'a> = Result<Value<'a>, Failed<'a>>;

/// One evaluation.
pub(super) struct Run<'a> {
    event: &'a dyn Attributes,
    errors: Vec<EvaluationError>,
}

impl<'a> Run<'a> {
    /// Notes an error; the value goes up as failed.
    pub(super) fn fail(&mut self, error: EvaluationError, value: Value<'a>) -> Failed<'a> {
        self.errors.push(error);
        Failed::With(value)
    }

    fn node(&mut self, node: &'a Node) -> Outcome<'a> {
        match node {
            Node::Literal(value) => Ok(borrowed(value)),
            Node::Attribute(name) => self.event.attribute(name).ok_or_else(|| {
                self.errors.push(EvaluationError::MissingAttribute(name.clone()));
                Failed::Missing
            }),
            Node::Exists(name) => Ok(Value::Boolean(self.event.attribute(name).is_some())),
            Node::Not(operand) => self.not(operand),
            Node::Negate(operand) => {
                let number = self.operand(operand, Kind::Integer, Kind::Integer)?;
                let Value::Integer(number) = number else { return Ok(number) };
                self.number("-", number.checked_neg())
            }
            Node::Binary(operator, left, right) => self.binary(*operator, left, right),
            Node::Like { subject, pattern, negated } => {
                let subject = self.operand(subject, Kind::Text, Kind::Boolean)?;
                let Value::Text(text) = subject else { return Ok(subject) };
                Ok(Value::Boolean(pattern.matches(&text) != *negated))
            }
            Node::In { subject, set, negated } => self.is_in(subject, set, *negated),
            Node::Call { name, arguments, .. } => self.call(name, arguments),
        }
    }

    /// An operand as the type it must have; if that fails, the zero value of the operator's own type goes up.
    pub(super) fn operand(&mut self, node: &'a Node, wanted: Kind, own: Kind) -> Outcome<'a> {
        let value = self.node(node).map_err(|_| Failed::With(own.zero()))?;
        value.cast(wanted).map_err(|error| self.fail(error, own.zero()))
    }

    /// As [`Run::operand`], but an integer is no truth.
    fn truth(&mut self, node: &'a Node) -> Result<bool, Failed<'a>> {
        match self.node(node).map_err(|_| Failed::With(Kind::Boolean.zero()))? {
            Value::Boolean(boolean) => Ok(boolean),
            Value::Integer(number) => {
                let error = EvaluationError::Cast { found: number.to_string(), wanted: "`true` or `false`" };
                Err(self.fail(error, Kind::Boolean.zero()))
            }
            text => match text.cast(Kind::Boolean) {
                Ok(value) => Ok(value == Value::Boolean(true)),
                Err(error) => Err(self.fail(error, Kind::Boolean.zero())),
            },
        }
    }

    fn not(&mut self, operand: &'a Node) -> Outcome<'a> {
        let before = self.errors.len();
        match self.truth(operand) {
            Ok(truth) => Ok(Value::Boolean(!truth)),
            // The cast of the operand itself failed, to `false`: the kit wants it negated.
            Err(failed) => match self.errors.get(before..) {
                Some([EvaluationError::Cast { .. }]) => Err(Failed::With(Value::Boolean(true))),
                _ => Err(failed),
            },
        }
    }

    fn binary(&mut self, operator: Binary, left: &'a Node, right: &'a Node) -> Outcome<'a> {
        match operator {
            Binary::And | Binary::Or | Binary::Xor => self.logic(operator, left, right),
            Binary::Equal | Binary::NotEqual => self.equality(operator == Binary::Equal, left, right),
            Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
                let (left, right) = self.numbers(left, right, Kind::Boolean)?;
                Ok(Value::Boolean(match operator {
                    Binary::Less => left < right,
                    Binary::LessOrEqual => left <= right,
                    Binary::Greater => left > right,
                    _ => left >= right,
                }))
            }
            Binary::Multiply | Binary::Divide | Binary::Remainder | Binary::Add | Binary::Subtract => {
                let (left, right) = self.numbers(left, right, Kind::Integer)?;
                match operator {
                    Binary::Multiply => self.number("*", left.checked_mul(right)),
                    Binary::Divide => self.number("/", left.checked_div(right)),
                    Binary::Remainder => self.number("%", left.checked_rem(right)),
                    Binary::Add => self.number("+", left.checked_add(right)),
                    _ => self.number("-", left.checked_sub(right)),
                }
            }
        }
    }

    fn logic(&mut self, operator: Binary, left: &'a Node, right: &'a Node) -> Outcome<'a> {
        let left = self.truth(left)?;
        match (operator, left) {
            (Binary::And, false) => return Ok(Value::Boolean(false)),
            (Binary::Or, true) => return Ok(Value::Boolean(true)),
            _ => {}
        }
        let right = self.truth(right)?;
        Ok(Value::Boolean(if operator == Binary::Xor { left != right } else { right }))
    }

    /// The right operand decides the type.
    fn equality(&mut self, wanted: bool, left: &'a Node, right: &'a Node) -> Outcome<'a> {
        let zero = || Failed::With(Kind::Boolean.zero());
        let left = self.node(left);
        let right = self.node(right).map_err(|_| zero())?;
        let left = left.map_err(|_| zero())?;
        match left.cast(right.kind()) {
            Ok(left) => Ok(Value::Boolean((left == right) == wanted)),
            Err(error) => Err(self.fail(error, Kind::Boolean.zero())),
        }
    }

    fn numbers(&mut self, left: &'a Node, right: &'a Node, own: Kind) -> Result<(i32, i32), Failed<'a>> {
        let left = self.operand(left, Kind::Integer, own);
        let right = self.operand(right, Kind::Integer, own)?;
        match (left?, right) {
            (Value::Integer(left), Value::Integer(right)) => Ok((left, right)),
            _ => Err(Failed::With(own.zero())),
        }
    }

    fn number(&mut self, operator: &'static str, number: Option<i32>) -> Outcome<'a> {
        match number {
            Some(number) => Ok(Value::Integer(number)),
            None => Err(self.fail(EvaluationError::Math(operator), Kind::Integer.zero())),
        }
    }

    /// The left operand decides the type.
    fn is_in(&mut self, subject: &'a Node, set: &'a [Node], negated: bool) -> Outcome<'a> {
        let failed = |_| Failed::With(Kind::Boolean.zero());
        let subject = self.node(subject).map_err(failed)?;
        let mut found = false;
        for element in set {
            let element = self.node(element).map_err(failed)?;
            match element.cast(subject.kind()) {
                Ok(element) => found |= element == subject,
                Err(error) => return Err(self.fail(error, Kind::Boolean.zero())),
            }
        }
        Ok(Value::Boolean(found != negated))
    }

    fn call(&mut self, name: &str, arguments: &'a [Node]) -> Outcome<'a> {
        if !function::exists(name, arguments.len()) {
            let error = EvaluationError::MissingFunction { name: name.to_owned(), arguments: arguments.len() };
            return Err(self.fail(error, Kind::Boolean.zero()));
        }
        function::call(self, name, arguments)
    }
}

fn borrowed<'a>(value: &'a Value<'static>) -> Value<'a> {
    match value {
        Value::Text(text) => Value::Text(std::borrow::Cow::Borrowed(text)),
        Value::Integer(number) => Value::Integer(*number),
        Value::Boolean(boolean) => Value::Boolean(*boolean),
    }
}
