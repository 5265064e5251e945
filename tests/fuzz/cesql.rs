//! CloudEvents SQL: whatever is written, parsing and evaluating end, within their limits and without a panic.

use tidewire_core::Envelope;
use tidewire_core::cesql::{Evaluated, Expression, MAX_EXPRESSION_BYTES, MAX_TEXT_BYTES, Value};

use super::Target;

fn events() -> Vec<Envelope> {
    let least = r#"{"specversion":"1.0","id":"1","source":"/s","type":"user.followed.v1","time":"2026-01-31T12:00:00Z","partitionkey":"user/1"}"#;
    let more = r#","subject":"Größe: 100 % 😀","sequence":"7","n":-2147483648,"m":2147483647,"b":true,"t":"-7"}"#;
    let full = least.replace('}', more);
    [least, &full].map(|text| Envelope::from_json(text.as_bytes()).expect("an event")).into()
}

fn check(input: &[u8]) -> bool {
    let text = String::from_utf8_lossy(input);
    let expression = match Expression::parse(&text) {
        Ok(expression) => expression,
        Err(error) => {
            assert!(error.at <= text.chars().count() && !error.reason.is_empty(), "{error}");
            assert!(Expression::filter(&text).is_err(), "a filter is no less than an expression");
            return false;
        }
    };
    assert!(text.len() <= MAX_EXPRESSION_BYTES);
    assert_eq!(expression.text(), text);
    for event in events() {
        let found = expression.evaluate(&event);
        within_limits(&found);
        let same = expression.evaluate(&event);
        assert_eq!((&found.value, &found.errors), (&same.value, &same.errors), "the same question, another answer");
        let passes = found.errors.is_empty() && found.value == Value::Boolean(true);
        assert_eq!(expression.matches(&event), passes);
    }
    true
}

fn within_limits(found: &Evaluated<'_>) {
    if let Value::Text(text) = &found.value {
        assert!(text.len() <= MAX_TEXT_BYTES.max(MAX_EXPRESSION_BYTES), "{} bytes", text.len());
    }
    for error in &found.errors {
        assert!(error.to_string().len() < 10_000, "{error}");
    }
}

const CORPUS: &[&str] = &[
    "type LIKE 'user.%' AND sequence > 5",
    "NOT EXISTS tenant OR subject = \"x\"",
    "n / 0 = 1 XOR TRUE",
    "(1 + 2) * -3 % 4 != 5",
    "CONCAT_WS(',', id, source, 'a') <> LOWER(UPPER(TRIM(subject)))",
    "SUBSTRING(subject, -3, 2) IN ('a', 'b', id)",
    "LEFT(id, 2) = RIGHT('ü😀', 1)",
    "INT('12') <= LENGTH(subject) AND BOOL('true')",
    "ABS(n) >= m - 1",
    "subject NOT LIKE '%\\%_\\_%'",
    "CONCAT(CONCAT(id, id), CONCAT(id, id))",
    "IS_INT('7') AND IS_BOOL(b) AND STRING(7) = '7'",
    "-2147483648 + 2147483647 = -1",
    "'it''s' = \"say \\\"x\\\"\"",
    "((((((((id = '1'))))))))",
    "no_such(1, 2)",
];

const DICTIONARY: &[&str] = &[
    " AND ",
    " OR ",
    " XOR ",
    "NOT ",
    " LIKE ",
    " NOT LIKE ",
    " IN ",
    " NOT IN ",
    "EXISTS ",
    "TRUE",
    "FALSE",
    "CONCAT(",
    "CONCAT_WS(",
    "SUBSTRING(",
    "LENGTH(",
    "INT(",
    "BOOL(",
    "STRING(",
    "ABS(",
    "LEFT(",
    "RIGHT(",
    "subject",
    "%",
    "_",
    "\\%",
    "<=",
    ">=",
    "!=",
    "<>",
    "%%%%%%%%%%%%a",
    "((((((((",
    "NOT NOT NOT NOT ",
    "- - - -",
];

#[test]
fn cesql_survives() {
    let corpus = CORPUS.iter().map(|text| text.as_bytes().to_vec()).collect();
    Target { name: "cesql", corpus, dictionary: DICTIONARY, check }.run();
}
