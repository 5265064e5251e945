//! A URL of PostgreSQL, taken apart.

use std::fmt;

/// `postgres://user:password@host:port/database?parameters`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Url {
    user: String,
    /// As it is, not as it is written in a URL.
    pub password: String,
    pub host: String,
    pub port: u16,
    database: String,
    /// With the question mark.
    parameters: String,
}

impl Url {
    /// One on loopback.
    pub fn new(user: &str, password: &str, port: u16) -> Self {
        let (host, database) = ("127.0.0.1".to_owned(), "postgres".to_owned());
        Self { user: user.to_owned(), password: password.to_owned(), host, port, database, parameters: String::new() }
    }

    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"))?;
        let (rest, parameters) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, address) = authority.rsplit_once('@').unwrap_or(("postgres", authority));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (address, 5432),
        };
        let database = if database.is_empty() { "postgres" } else { database };
        Some(Self {
            user: user.to_owned(),
            password: decoded(password)?,
            host: host.to_owned(),
            port,
            database: database.to_owned(),
            parameters: parameters.to_owned(),
        })
    }

    pub fn with_database(&self, name: &str) -> String {
        Self { database: name.to_owned(), ..self.clone() }.to_string()
    }

    pub fn without_password(&self) -> String {
        format!("postgres://{}@{}:{}/{}{}", self.user, self.host, self.port, self.database, self.parameters)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "postgres://{}", self.user)?;
        if !self.password.is_empty() {
            write!(f, ":{}", encoded(&self.password))?;
        }
        write!(f, "@{}:{}/{}{}", self.host, self.port, self.database, self.parameters)
    }
}

fn encoded(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                digit(rest.next()?)? * 16 + digit(rest.next()?)?
            }
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_put_together() {
        let text = "postgres://me:p%40ss%2Fword@db.example.org:6543/shop?sslmode=disable";
        let url = Url::parse(text).expect("a URL");
        assert_eq!((url.password.as_str(), url.port), ("p@ss/word", 6543));
        assert_eq!(url.to_string(), text);
        assert_eq!(url.without_password(), "postgres://me@db.example.org:6543/shop?sslmode=disable");
        assert_eq!(url.with_database("other"), "postgres://me:p%40ss%2Fword@db.example.org:6543/other?sslmode=disable");
        let short = Url::parse("postgresql://localhost").expect("a URL");
        assert_eq!(short.to_string(), "postgres://postgres@localhost:5432/postgres");
        assert!(Url::parse("http://localhost").is_none());
    }
}
