//! YAML for reading: block style, every text a JSON string, which is YAML as well. Nothing else of YAML is used,
//! so nothing of it can surprise (no `no` that means false, no bare dates).

use serde_json::Value;

/// `value` as a YAML document, ending with a line break.
pub fn document(value: &Value) -> String {
    let mut out = String::new();
    block(&mut out, value, 0);
    out
}

fn block(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                indent(out, depth);
                entry(out, &format!("{}:", key(name)), member, depth);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                indent(out, depth);
                entry(out, "-", item, depth);
            }
        }
        scalar => {
            indent(out, depth);
            out.push_str(&scalar.to_string());
            out.push('\n');
        }
    }
}

fn entry(out: &mut String, head: &str, value: &Value, depth: usize) {
    out.push_str(head);
    let nested =
        matches!(value, Value::Object(m) if !m.is_empty()) || matches!(value, Value::Array(a) if !a.is_empty());
    if nested {
        out.push('\n');
        block(out, value, depth + 1);
    } else {
        out.push(' ');
        out.push_str(&value.to_string());
        out.push('\n');
    }
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Plain where every reader agrees that it is text, quoted otherwise.
fn key(name: &str) -> String {
    let plain = name.len() > 3
        && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        && !["true", "false", "null"].contains(&name);
    if plain || matches!(name, "id" | "key" | "at" | "pid" | "url") {
        name.to_owned()
    } else {
        Value::from(name).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nesting_is_by_indentation_and_texts_are_quoted() {
        let value = json!({"id": "a: b", "list": [1, {"name": "no"}, []], "no": null, "deep": {"inner": true}});
        let expected =
            "deep:\n  inner: true\nid: \"a: b\"\nlist:\n  - 1\n  -\n    name: \"no\"\n  - []\n\"no\": null\n";
        assert_eq!(document(&value), expected);
        assert_eq!(document(&json!([])), "[]\n");
    }
}
