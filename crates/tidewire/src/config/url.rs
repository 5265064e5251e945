//! Addresses of services as URLs: checked for shape, printed without their password.

use std::fmt;

use super::secret::{MASK, SecretString};

/// Query parameters that carry a secret in one of the URLs we accept.
const SECRET_PARAMETERS: [&str; 9] =
    ["password", "passwd", "pass", "sslpassword", "token", "secret", "jwt", "access_key", "secret_access_key"];

/// Schemes whose user part alone is a token (`nats://TOKEN@host`).
const TOKEN_SCHEMES: [&str; 2] = ["nats", "tls"];

/// `url` without its password, for logs, errors and `config show`.
///
/// Errs on the side of hiding: a password may hold `@`, `/` or `?` unescaped, so everything from the
/// first `:` of the user part to the *last* `@` of the whole text is replaced.
pub fn redact_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return redact_parameters(url);
    };
    let rest = match rest.rfind('@') {
        Some(at) => format!("{}@{}", redact_user(scheme, &rest[..at]), redact_parameters(&rest[at + 1..])),
        None => redact_parameters(rest),
    };
    format!("{scheme}://{rest}")
}

fn redact_user(scheme: &str, user: &str) -> String {
    match user.split_once(':') {
        Some((name, _)) => format!("{}:{MASK}", redact_parameters(name)),
        None if TOKEN_SCHEMES.contains(&scheme) => MASK.to_owned(),
        None => redact_parameters(user),
    }
}

fn redact_parameters(text: &str) -> String {
    let Some((head, query)) = text.split_once('?') else {
        return text.to_owned();
    };
    let parts = query.split('&').map(|part| match part.split_once('=') {
        Some((name, _)) if SECRET_PARAMETERS.contains(&name.to_ascii_lowercase().as_str()) => format!("{name}={MASK}"),
        _ => part.to_owned(),
    });
    format!("{head}?{}", parts.collect::<Vec<_>>().join("&"))
}

/// Where a service is. `Debug` and `Display` hide the password; [`expose`](Self::expose) gives the whole text.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ServiceUrl(SecretString);

impl ServiceUrl {
    /// Takes the text as it is: the key table's rule has checked it.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(SecretString::new(text))
    }

    /// The whole text with its password: for the client that connects, never for a log line.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// What stands before the first `:`; empty for a plain path.
    pub fn scheme(&self) -> &str {
        scheme_of(self.expose()).unwrap_or("")
    }

    /// What follows the scheme, without `//`: the folder of `sqlite:DIR`.
    pub fn rest(&self) -> &str {
        let text = self.expose();
        let rest = scheme_of(text).map_or(text, |scheme| &text[scheme.len() + 1..]);
        rest.strip_prefix("//").unwrap_or(rest)
    }

    /// Whether nothing was configured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", redact_url(self.expose()))
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact_url(self.expose()))
    }
}

/// A scheme has at least two letters, so that `C:\data` stays a path.
fn scheme_of(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once(':')?;
    let valid = scheme.len() > 1
        && scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c));
    valid.then_some(scheme)
}

/// Which URLs a key accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UrlRule {
    /// Schemes followed by `//host`.
    pub network: &'static [&'static str],
    /// Schemes that name something on this machine: `sqlite:DIR`, `embedded:`.
    pub local: &'static [&'static str],
    /// Whether a plain folder is accepted too.
    pub folder: bool,
    /// Whether nothing at all is accepted, and switches the feature off or to its default place.
    pub empty: bool,
}

impl UrlRule {
    /// The forms in words, for errors and the reference file.
    pub fn expected(&self) -> String {
        let mut forms: Vec<String> = self.local.iter().map(|scheme| format!("{scheme}:")).collect();
        forms.extend(self.network.iter().map(|scheme| format!("{scheme}://")));
        let mut text = format!("a URL that begins with {}", super::value::either(&forms));
        if self.folder {
            text.push_str(", or a folder");
        }
        if self.empty {
            text.push_str(", or nothing");
        }
        text
    }

    /// Checks the shape. Hosts are not looked up: whether they answer is `doctor`'s business.
    pub(super) fn check(&self, text: &str) -> Result<ServiceUrl, &'static str> {
        if text.is_empty() {
            return if self.empty {
                Ok(ServiceUrl::default())
            } else {
                Err("an empty value; unset it for the default")
            };
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) && !self.folder {
            return Err("spaces and control characters do not belong in a URL: write %20");
        }
        let Some(scheme) = scheme_of(text) else {
            return if self.folder { Ok(ServiceUrl::new(text)) } else { Err("put the scheme in front") };
        };
        if self.local.contains(&scheme) {
            return Ok(ServiceUrl::new(text));
        }
        if !self.network.contains(&scheme) {
            return Err("this scheme is not known here");
        }
        let Some(rest) = text.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")) else {
            return Err("write // after the scheme");
        };
        check_hosts(&rest.replace(&format!(",{scheme}://"), ",")).map(|()| ServiceUrl::new(text))
    }
}

/// One or more hosts with optional ports; none only where the query names a unix socket.
fn check_hosts(rest: &str) -> Result<(), &'static str> {
    let end = rest.rfind('@').map_or(0, |at| at + 1);
    let authority = rest[end..].split(['/', '?', '#']).next().unwrap_or("");
    if authority.is_empty() {
        let socket = rest.contains("?host=") || rest.contains("&host=");
        return if socket { Ok(()) } else { Err("the host is missing") };
    }
    for host in authority.split(',') {
        let host = host.rsplit('@').next().unwrap_or(host);
        // A bracketed IPv6 address holds colons of its own.
        let (name, tail) = match host.strip_prefix('[') {
            Some(inner) => inner.split_once(']').ok_or("an IPv6 address needs its closing bracket")?,
            None => host.split_at(host.find(':').unwrap_or(host.len())),
        };
        if name.is_empty() {
            return Err("the host is missing");
        }
        match tail.strip_prefix(':') {
            Some(port) if port.parse::<u16>().is_ok_and(|port| port > 0) => {}
            None if tail.is_empty() => {}
            _ => return Err("a port is a number from 1 to 65535; an IPv6 address stands in brackets"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_never_survive_redaction() {
        for (url, shown) in [
            ("postgres://u:p4ss@db:5432/x", "postgres://u:***@db:5432/x"),
            ("postgres://u:p@ss/w?rd@db/x", "postgres://u:***@db/x"),
            (
                "postgres://db/x?user=u&password=p4ss&sslmode=require",
                "postgres://db/x?user=u&password=***&sslmode=require",
            ),
            ("postgres:///x?host=/run/pg", "postgres:///x?host=/run/pg"),
            ("nats://t0ken@h:4222", "nats://***@h:4222"),
            ("nats://u:p1@h1,nats://u:p2@h2", "nats://u:***@h2"),
            ("smtp://mail.example:25", "smtp://mail.example:25"),
            ("smtp://user@mail.example", "smtp://user@mail.example"),
            ("sqlite:", "sqlite:"),
            ("no url at all", "no url at all"),
        ] {
            assert_eq!(redact_url(url), shown);
            assert_eq!(ServiceUrl::new(url).to_string(), shown);
            assert!(!format!("{:?}", ServiceUrl::new(url)).contains("p4ss"));
        }
    }

    const RULE: UrlRule = UrlRule { network: &["postgres", "nats"], local: &["sqlite"], folder: false, empty: false };

    #[test]
    fn shapes_are_checked() {
        for good in [
            "sqlite:",
            "sqlite:/var/lib/x",
            "postgres://h/d",
            "postgres://u:p@h1:1,h2:2/d",
            "postgres:///d?host=/run/pg",
            "nats://[::1]:4222",
            "nats://a:4222,nats://b:4222",
        ] {
            assert!(RULE.check(good).is_ok(), "{good}: {:?}", RULE.check(good));
        }
        for bad in [
            "",
            "localhost",
            "localhost:5432",
            "mysql://h",
            "postgres:h",
            "postgres://",
            "postgres://h:0/d",
            "postgres://h:99999",
            "postgres://h:port/d",
            "nats://::1:4222",
            "nats://[::1",
            "nats://a b",
            "nats://a,",
        ] {
            assert!(RULE.check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn parts_of_local_and_plain_places() {
        let rest = |text: &str| (ServiceUrl::new(text).scheme().to_owned(), ServiceUrl::new(text).rest().to_owned());
        assert_eq!(rest("sqlite:"), ("sqlite".into(), "".into()));
        assert_eq!(rest("sqlite:///abs/dir"), ("sqlite".into(), "/abs/dir".into()));
        assert_eq!(rest("sqlite:rel"), ("sqlite".into(), "rel".into()));
        assert_eq!(rest("/srv/objects"), ("".into(), "/srv/objects".into()));
        assert_eq!(rest("C:\\objects"), ("".into(), "C:\\objects".into()));
    }
}
