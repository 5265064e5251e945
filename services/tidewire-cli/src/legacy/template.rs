//! Values put together from columns: `"user/{id}"`.

use serde_json::{Map, Number, Value};

use super::rows::Row;

/// The deepest a mapping's data may nest: as deep as what the edge takes.
const MAX_DEPTH: usize = 64;

/// JSON with columns in its texts. A text that is nothing but one column keeps the column's own type, unless it says
/// another: `{id:text}`, `{id:int}`, `{price:number}`, `{active:bool}`, `{extra:json}`. Members whose column is null are
/// left out. `{{` and `}}` stand for braces.
#[derive(Clone, Debug, PartialEq)]
pub enum Template {
    /// As it stands.
    Fixed(Value),
    /// One column, with its type.
    Column(Column),
    /// Texts and columns in a row.
    Text(Vec<Piece>),
    /// A list.
    List(Vec<Template>),
    /// An object.
    Object(Vec<(String, Template)>),
}

/// A column, and what its value is made into.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    name: String,
    cast: Cast,
}

/// Part of a text.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// The value of a column.
    Column(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cast {
    None,
    Text,
    Int,
    Number,
    Bool,
    Json,
}

impl Template {
    /// From the mapping file.
    pub fn of(value: &toml::Value) -> Result<Self, String> {
        Self::within(value, 0)
    }

    fn within(value: &toml::Value, depth: usize) -> Result<Self, String> {
        if depth > MAX_DEPTH {
            return Err(format!("it nests deeper than {MAX_DEPTH} levels"));
        }
        Ok(match value {
            toml::Value::String(text) => Self::text(text)?,
            toml::Value::Integer(number) => Self::Fixed((*number).into()),
            toml::Value::Float(number) => Self::Fixed(Number::from_f64(*number).map_or(Value::Null, Value::Number)),
            toml::Value::Boolean(truth) => Self::Fixed((*truth).into()),
            toml::Value::Datetime(time) => Self::Fixed(time.to_string().into()),
            toml::Value::Array(items) => {
                Self::List(items.iter().map(|item| Self::within(item, depth + 1)).collect::<Result<_, _>>()?)
            }
            toml::Value::Table(members) => {
                let member = |(name, value): (&String, &toml::Value)| {
                    Self::within(value, depth + 1)
                        .map(|value| (name.clone(), value))
                        .map_err(|why| format!("{name}: {why}"))
                };
                Self::Object(members.iter().map(member).collect::<Result<_, _>>()?)
            }
        })
    }

    /// From one text.
    pub fn text(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            plain.push_str(before);
            if brace.starts_with("{{") || brace.starts_with("}}") {
                plain.push_str(&brace[..1]);
                rest = &brace[2..];
                continue;
            }
            let inside = brace.strip_prefix('{').and_then(|inside| inside.split_once('}'));
            let Some((column, after)) = inside else {
                return Err(format!("`{text}`: a brace without its other half; a brace itself is written twice"));
            };
            let column = Column::parse(column).map_err(|why| format!("`{text}`: {why}"))?;
            if pieces.is_empty() && plain.is_empty() && after.is_empty() {
                return Ok(Self::Column(column));
            }
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Column(column.name));
            rest = after;
        }
        plain.push_str(rest);
        if pieces.is_empty() {
            return Ok(Self::Fixed(plain.into()));
        }
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self::Text(pieces))
    }

    /// The value of a row; null where its only column is.
    pub fn fill(&self, row: &Row) -> Result<Value, String> {
        Ok(match self {
            Self::Fixed(value) => value.clone(),
            Self::Column(column) => column.fill(row)?,
            Self::Text(pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    match piece {
                        Piece::Text(plain) => text.push_str(plain),
                        Piece::Column(name) => text.push_str(&as_text(column(row, name)?)),
                    }
                }
                text.into()
            }
            Self::List(items) => Value::Array(items.iter().map(|item| item.fill(row)).collect::<Result<_, _>>()?),
            Self::Object(members) => {
                let mut object = Map::new();
                for (name, member) in members {
                    match member.fill(row).map_err(|why| format!("{name}: {why}"))? {
                        Value::Null => {}
                        value => {
                            object.insert(name.clone(), value);
                        }
                    }
                }
                object.into()
            }
        })
    }

    /// The value of a row as text, of which no part may be missing: what names something must.
    pub fn fill_text(&self, row: &Row) -> Result<String, String> {
        if let Self::Text(pieces) = self {
            for piece in pieces {
                if let Piece::Column(name) = piece
                    && as_text(column(row, name)?).is_empty()
                {
                    return Err(format!("column `{name}` is empty in this row"));
                }
            }
        }
        match as_text(&self.fill(row)?) {
            text if text.is_empty() => Err("it is empty in this row".into()),
            text => Ok(text),
        }
    }
}

impl Column {
    fn parse(text: &str) -> Result<Self, String> {
        let (name, cast) = text.split_once(':').unwrap_or((text, ""));
        let cast = match cast {
            "" => Cast::None,
            "text" => Cast::Text,
            "int" => Cast::Int,
            "number" => Cast::Number,
            "bool" => Cast::Bool,
            "json" => Cast::Json,
            other => return Err(format!("`{other}` is no type; there are text, int, number, bool and json")),
        };
        if name.trim().is_empty() {
            return Err("a column without a name".into());
        }
        Ok(Self { name: name.trim().to_owned(), cast })
    }

    fn fill(&self, row: &Row) -> Result<Value, String> {
        let value = column(row, &self.name)?;
        if value.is_null() {
            return Ok(Value::Null);
        }
        let text = as_text(value);
        let no = |wanted: &str| format!("column `{}` is not {wanted}: {}", self.name, shortened(&text));
        Ok(match self.cast {
            Cast::None => value.clone(),
            Cast::Text => text.into(),
            Cast::Int => text.trim().parse::<i64>().map_err(|_| no("a whole number"))?.into(),
            Cast::Number => match text.trim().parse::<f64>().ok().and_then(Number::from_f64) {
                Some(number) => number.into(),
                None => return Err(no("a number")),
            },
            Cast::Bool => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "t" | "1" | "yes" | "y" => true.into(),
                "false" | "f" | "0" | "no" | "n" => false.into(),
                _ => return Err(no("true or false")),
            },
            Cast::Json if !value.is_string() => value.clone(),
            Cast::Json => serde_json::from_str(&text).map_err(|_| no("JSON"))?,
        })
    }
}

fn column<'a>(row: &'a Row, name: &str) -> Result<&'a Value, String> {
    row.get(name).ok_or_else(|| {
        let known: Vec<&str> = row.keys().map(String::as_str).collect();
        format!("there is no column `{name}`; there are {}", known.join(", "))
    })
}

fn as_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row() -> Row {
        let row = json!({"id": 7, "name": "Ana", "email": null, "active": "t", "extra": "{\"a\": 1}", "price": "1.50"});
        row.as_object().cloned().unwrap()
    }

    #[test]
    fn columns_keep_their_type_unless_told_otherwise() {
        for (text, expected) in [
            ("{id}", json!(7)),
            ("{id:text}", json!("7")),
            ("user/{id}", json!("user/7")),
            ("{name} <{id}>", json!("Ana <7>")),
            ("{active:bool}", json!(true)),
            ("{price:number}", json!(1.5)),
            ("{extra:json}", json!({"a": 1})),
            ("{email}", json!(null)),
            ("plain", json!("plain")),
            ("{{id}} {id}", json!("{id} 7")),
        ] {
            assert_eq!(Template::text(text).unwrap().fill(&row()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn members_without_a_value_are_left_out() {
        let mapping: toml::Value = toml::from_str("user_id = '{id:text}'\nemail = '{email}'\nkind = 'old'\n").unwrap();
        assert_eq!(Template::of(&mapping).unwrap().fill(&row()), Ok(json!({"user_id": "7", "kind": "old"})));
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (text, wanted) in
            [("{id", "brace"), ("id}", "brace"), ("{}", "without a name"), ("{id:date}", "is no type")]
        {
            let why = Template::text(text).unwrap_err();
            assert!(why.contains(wanted), "{text}: {why}");
        }
        for (text, wanted) in
            [("{nmae}", "there is no column `nmae`"), ("{name:int}", "not a whole number"), ("{name:json}", "not JSON")]
        {
            let why = Template::text(text).unwrap().fill(&row()).unwrap_err();
            assert!(why.contains(wanted), "{text}: {why}");
        }
        for text in ["{email}", "users/{email}"] {
            assert!(Template::text(text).unwrap().fill_text(&row()).is_err(), "an id must be something: {text}");
        }
    }
}
