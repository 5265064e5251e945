//! How long handlers take, from this process' own histogram.

use std::time::Duration;

/// The histogram of the tries of handlers.
const NAME: &str = "tidewire_handler_seconds_bucket";

/// What 99 of 100 tries of `consumer` took at most: the upper bound of the bucket they end in. `None` without tries. The bound
/// of the last bucket, where they end beyond it: slower a histogram cannot tell.
pub(super) fn p99(text: &str, consumer: &str) -> Option<Duration> {
    let label = format!("consumer=\"{consumer}\"");
    let mut buckets: Vec<(f64, f64)> = text
        .lines()
        .filter_map(|line| line.strip_prefix(NAME))
        .filter(|rest| rest.contains(&label))
        .filter_map(|rest| {
            let (labels, count) = rest.rsplit_once(' ')?;
            let bound = labels.split("le=\"").nth(1)?.split('"').next()?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, count.parse().ok()?))
        })
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
    let wanted = buckets.iter().find(|(_, count)| *count >= total * 0.99)?.0;
    let last = buckets.iter().rev().map(|(bound, _)| *bound).find(|bound| bound.is_finite())?;
    Duration::try_from_secs_f64(wanted.min(last)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_that_holds_99_of_100_is_told() {
        let text = "\
tidewire_handler_seconds_bucket{le=\"0.1\",consumer=\"a\"} 90\n\
tidewire_handler_seconds_bucket{le=\"1.0\",consumer=\"a\"} 99\n\
tidewire_handler_seconds_bucket{le=\"+Inf\",consumer=\"a\"} 100\n\
tidewire_handler_seconds_bucket{le=\"0.1\",consumer=\"b\"} 0\n\
tidewire_handler_seconds_bucket{le=\"+Inf\",consumer=\"b\"} 0\n\
tidewire_handler_seconds_bucket{le=\"2.5\",consumer=\"c\"} 1\n\
tidewire_handler_seconds_bucket{le=\"+Inf\",consumer=\"c\"} 100\n";
        assert_eq!(p99(text, "a"), Some(Duration::from_secs(1)));
        assert_eq!(p99(text, "b"), None);
        assert_eq!(p99(text, "c"), Some(Duration::from_millis(2_500)), "as slow as can be told");
        assert_eq!(p99(text, "nobody"), None);
    }
}
