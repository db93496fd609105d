use std::time::Duration;

use crate::types::clock::Timestamp;

/// A duration in words, in its two largest units, rounded down: `1 hour 30 minutes`.
pub(super) fn span(span: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let mut rest = span.as_secs();
    let mut words = Vec::new();
    for (unit, name) in UNITS {
        let count = rest / unit;
        rest %= unit;
        if count > 0 {
            words.push(format!("{count} {name}{}", if count == 1 { "" } else { "s" }));
        } else if !words.is_empty() {
            break;
        }
    }
    words.truncate(2);
    if words.is_empty() { "less than a second".into() } else { words.join(" ") }
}

/// A duration in its largest unit, rounded down, and in seconds below a minute: `9 minutes`.
pub(super) fn about(exact: Duration) -> String {
    let largest = [86_400, 3_600, 60].into_iter().find(|unit| exact.as_secs() >= *unit).unwrap_or(1);
    span(Duration::from_secs(exact.as_secs() / largest * largest))
}

/// The time since `then`, in words.
pub(super) fn ago(then: Timestamp, now: Timestamp) -> String {
    let passed = now.since(then);
    if passed < Duration::from_secs(60) { "just now".into() } else { format!("{} ago", about(passed)) }
}

/// A date and time in an unambiguous format: `2026-11-24 01:10 UTC`.
pub(super) fn time(time: Timestamp) -> String {
    let text = time.to_string();
    let minute = text.get(..16).unwrap_or(&text).replace('T', " ");
    format!("{minute} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_times_read_well() {
        let seconds = Duration::from_secs;
        assert_eq!(span(seconds(3_600)), "1 hour");
        assert_eq!(span(seconds(5_400)), "1 hour 30 minutes");
        assert_eq!(span(seconds(86_400 * 30 + 59)), "30 days");
        assert_eq!(span(seconds(61)), "1 minute 1 second");
        assert_eq!(about(seconds(599)), "9 minutes");
        assert_eq!(about(seconds(59)), "59 seconds");
        assert_eq!(span(Duration::ZERO), "less than a second");
        let now = Timestamp::from_millis(1_795_482_600_000);
        assert_eq!(time(now), "2026-11-24 01:10 UTC");
        assert_eq!(ago(now, now.after(seconds(59))), "just now");
        assert_eq!(ago(now, now.after(seconds(7_300))), "2 hours ago");
        assert_eq!(ago(now, now.after(seconds(86_400 + 3_700))), "1 day ago");
    }
}
