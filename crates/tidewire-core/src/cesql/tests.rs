//! What the specification's kit leaves open; the kit itself is run by the `tests` crate.

use super::*;
use crate::envelope::{Attribute, tests::sample};

fn error(text: &str) -> String {
    Expression::filter(text).expect_err(text).to_string()
}

#[test]
fn every_attribute_can_be_read() {
    let mut event = sample();
    event.subject = Some("s".into());
    event.correlationid = Some("c".into());
    event.expirytime = Some(event.time);
    event.extensions.insert("hops".into(), Attribute::Integer(3));
    event.extensions.insert("vip".into(), Attribute::Boolean(true));
    let cases = [
        "id = '0198-1' AND source = '/social' AND specversion = '1.0'",
        "type = 'user.followed.v1' AND partitionkey LIKE 'user/%'",
        "time = '1970-01-01T00:00:00Z' AND expirytime = time",
        "sequence = 3 AND sequence < 10 AND hops = 3 AND vip",
        "subject = 's' AND correlationid IN ('a', 'b', 'c')",
        "NOT EXISTS causationid AND EXISTS hops",
        "Type LIKE '%.V1' OR type LIKE '%.v1'",
    ];
    for text in cases {
        let found = Expression::filter(text).unwrap().evaluate(&event).errors;
        assert!(Expression::filter(text).unwrap().matches(&event), "{text}: {found:?}");
    }
}

#[test]
fn an_event_passes_only_without_errors() {
    for text in ["nothere = 'x' OR true", "NOT 10", "1 / 0 = 0", "subject", "'true'", "1", "true XOR nothere"] {
        assert!(!Expression::parse(text).unwrap().matches(&sample()), "{text}");
    }
    assert!(Expression::filter("true OR nothere = 'x'").unwrap().matches(&sample()), "the right side is not looked at");
}

#[test]
fn operators_of_one_precedence_are_taken_from_the_left() {
    let value = |text: &str| Expression::parse(text).unwrap().evaluate(&sample()).value.to_string();
    for (text, expected) in [
        ("true OR false AND false", "false"),
        ("10 - 3 - 2", "5"),
        ("4 -1", "3"),
        ("4 - -1", "5"),
        ("+4", "4"),
        ("2 + 3 * 4", "14"),
        ("-7 / 2", "-3"),
        ("-7 % 2", "-1"),
        ("1 = 1 = true", "true"),
        ("LEFT('Straße', 5)", "Straß"),
        ("SUBSTRING('Straße', -2)", "ße"),
        ("'it''s' = 'it\\'s'", "true"),
        ("2147483647 + 1", "0"),
        ("-2147483648", "-2147483648"),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
}

#[test]
fn errors_say_where_and_what() {
    for (text, expected) in [
        ("", "at character 1: expected a value, found the end"),
        ("type =", "at character 7: expected a value, found the end"),
        ("type = 'x", "at character 8: the string that starts here has no closing '"),
        ("type LIKE source", "at character 11: expected a string in quotes, found `source`"),
        ("(type = 'x'", "at character 12: expected `)`, found the end"),
        ("type = 'x' source", "at character 12: expected an operator or the end, found `source`"),
        ("ü = 1", "at character 1: `ü` has no meaning here"),
        ("'ü' = ~", "at character 7: `~` has no meaning here"),
        ("2147483648", "at character 1: the number does not fit into 32 bits"),
        ("a = AND", "at character 5: expected a value, found `AND`"),
        ("my_ext = 1", "at character 1: `my_ext` is no attribute: their names are letters and digits"),
        ("LEFT('a') = 'a'", "at character 1: there is no function `LEFT` of 1 arguments; it takes 2"),
        (
            "true AND SUBSTRING('a')",
            "at character 10: there is no function `SUBSTRING` of 1 arguments; it takes 2 to 3",
        ),
        ("type IN ()", "at character 10: expected a value, found `)`"),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
    assert!(error("REGEX(type, 'x')").contains("there are INT, BOOL"), "{}", error("REGEX(type, 'x')"));
}

#[test]
fn no_expression_takes_much_stack_memory_or_time() {
    assert!(error(&"x".repeat(MAX_EXPRESSION_BYTES + 1)).contains("at most 4096 are taken"));
    for hostile in ["(".repeat(4_000), "NOT ".repeat(1_000), "- ".repeat(2_000), "ABS(".repeat(1_000)] {
        assert!(error(&hostile).contains("nested more than 64 deep"), "{}", error(&hostile));
    }
    for chain in ["1+".repeat(1_000) + "1", "true and ".repeat(400) + "true", "a ".to_owned() + &"in(1)".repeat(400)] {
        assert!(error(&chain).contains("operators in a row"), "{}", error(&chain));
    }
    // Each level alone is allowed; together they are as deep as it gets.
    let deep = (0..MAX_DEPTH - 2).fold("1".to_owned(), |inside, _| format!("(1+{inside})"));
    assert_eq!(Expression::parse(&deep).unwrap().evaluate(&sample()).value, Value::Integer(63));

    let mut event = sample();
    event.extensions.insert("long".into(), Attribute::Text("a".repeat(2_048)));
    let joined = Expression::parse(&format!("CONCAT({})", vec!["long"; 40].join(","))).unwrap();
    assert!(matches!(joined.evaluate(&event).errors[..], [EvaluationError::Generic(_)]));
    // What makes a naive matcher exponential: 2 KiB of text against many wildcards.
    let pattern = "%a".repeat(500) + "b";
    assert!(!Expression::parse(&format!("long LIKE '{pattern}'")).unwrap().matches(&event));
}
