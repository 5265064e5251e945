//! Request targets: parts and parameters percent-encoded, so that no id can change the route.

/// `/v1/…` of `parts`, each one segment.
pub fn path(parts: &[&str]) -> String {
    parts.iter().fold(String::new(), |mut target, part| {
        target.push('/');
        // A client may resolve dot segments before it sends them.
        match *part {
            "." => target.push_str("%2E"),
            ".." => target.push_str("%2E%2E"),
            part => encode(part, &mut target),
        }
        target
    })
}

/// `target` with the parameters that have a value.
pub fn with_query(target: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut full = target.to_owned();
    let mut separator = '?';
    for (name, value) in parameters {
        if let Some(value) = value {
            full.push(separator);
            full.push_str(name);
            full.push('=');
            encode(value, &mut full);
            separator = '&';
        }
    }
    full
}

fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_leaves_its_segment() {
        assert_eq!(path(&["v1", "users", "a/../b?c#d ü"]), "/v1/users/a%2F..%2Fb%3Fc%23d%20%C3%BC");
        assert_eq!(path(&["v1", ".."]), "/v1/%2E%2E");
        assert_eq!(with_query("/v1/x", &[("a", Some("1&2")), ("b", None), ("c", Some(""))]), "/v1/x?a=1%262&c=");
    }
}
