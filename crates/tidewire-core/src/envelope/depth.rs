//! How deep JSON nests.

/// How deep arrays and objects nest in `json`, without parsing it: brackets outside strings. Also right for
/// text that is no JSON, in that it never panics.
pub fn json_depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for &byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// How deep `json` nests, if that is deeper than `limit`. Most texts do not have so many brackets in all.
pub(crate) fn nests_deeper_than(json: &[u8], limit: usize) -> Option<usize> {
    let brackets = json.iter().filter(|byte| matches!(byte, b'[' | b'{')).count();
    Some(brackets).filter(|count| *count > limit).map(|_| json_depth(json)).filter(|depth| *depth > limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_ignores_brackets_in_strings() {
        assert_eq!(json_depth(br#"{"a":["[[[", "\"[["]}"#), 2);
        assert_eq!(json_depth(b"]]]"), 0);
        assert_eq!(nests_deeper_than(br#"["[[[[["]"#, 1), None);
        assert_eq!(nests_deeper_than(b"[[]]", 1), Some(2));
    }
}
