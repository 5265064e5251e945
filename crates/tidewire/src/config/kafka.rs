//! Settings of librdkafka in one key.

use std::collections::BTreeMap;

/// Reads `name=value; name=value`. `None` where a part has no name or no `=`; a value may hold anything but `;`.
pub fn kafka_settings(text: &str) -> Option<BTreeMap<String, String>> {
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=')?;
            let name = name.trim();
            let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_');
            let named = !name.is_empty() && name.bytes().all(is_name);
            named.then(|| (name.to_owned(), value.trim().to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_names_and_values() {
        let read = |text: &str| kafka_settings(text).map(|found| found.into_iter().collect::<Vec<_>>());
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(read(""), Some(vec![]));
        assert_eq!(
            read("ssl.ca.location = /etc/ca.pem; ssl.key.password=a=b,c;"),
            Some(vec![pair("ssl.ca.location", "/etc/ca.pem"), pair("ssl.key.password", "a=b,c")])
        );
        for bad in ["linger.ms", "=5", "Linger=5", "a b=5"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
