//! From OpenMetrics to the older text that every Prometheus reads.

/// OpenMetrics names a counter without `_total` in its head lines and ends with `# EOF`; the older
/// format wants the full name, or it takes the samples for untyped ones without help.
pub(super) fn to_prometheus_text(open: &str) -> String {
    let mut out = String::with_capacity(open.len() + 256);
    let mut help: Option<(&str, &str)> = None;
    for line in open.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let end = if kind == "counter" { "_total" } else { "" };
            if let Some((_, text)) = help.take() {
                out.push_str(&format!("# HELP {name}{end} {text}\n"));
            }
            out.push_str(&format!("# TYPE {name}{end} {kind}\n"));
        } else if line != "# EOF" {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_counters_get_their_full_name_and_the_rest_stays() {
        let tail = "# HELP b_seconds B.\n# TYPE b_seconds histogram\nb_seconds_count 0\n";
        let open = format!("# HELP a A.\n# TYPE a counter\na_total 1\n{tail}# EOF\n");
        let text = format!("# HELP a_total A.\n# TYPE a_total counter\na_total 1\n{tail}");
        assert_eq!(to_prometheus_text(&open), text);
        assert_eq!(to_prometheus_text(""), "");
    }
}
