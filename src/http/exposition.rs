//! Prometheus' text format.

use std::fmt::Write;

/// Milliseconds, written as seconds.
#[derive(Clone, Copy)]
pub struct Seconds(pub u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

pub fn kind_of(name: &str) -> &'static str {
    if name.ends_with("_total") {
        "counter"
    } else {
        "gauge"
    }
}

/// The exposition format, line by line. Writing to a string cannot fail.
#[derive(Default)]
pub struct Text(pub String);

impl Text {
    /// Begins a metric. Its samples follow.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(
            self.0,
            "# HELP hitparade_{name} {help}\n# TYPE hitparade_{name} {kind}"
        );
    }

    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{}\"", escaped_label(value)))
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.0, "hitparade_{name}{labels} {value}");
    }

    /// A metric of one sample.
    pub fn one(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, kind_of(name), help);
        self.sample(name, &[], value);
    }

    pub fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        bounds: &[String],
        counts: &[u64],
        sum: impl std::fmt::Display,
    ) {
        let bounds = bounds.iter().map(String::as_str).chain(["+Inf"]);
        let mut up_to = 0;
        for (bound, count) in bounds.zip(counts) {
            up_to += count;
            let labels = [labels, &[("le", bound)]].concat();
            self.sample(&format!("{name}_bucket"), &labels, up_to);
        }
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, up_to);
    }
}

/// A label's value.
fn escaped_label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_say_what_they_are_and_labels_cannot_break_out() {
        let mut text = Text::default();
        text.one("plays_total", "Plays.", 7);
        text.family("age", "gauge", "Age.");
        text.sample(
            "age",
            &[("region", "a\"b\\c\nd"), ("shard", "0")],
            Seconds(12_034),
        );
        assert_eq!(
            text.0,
            "# HELP hitparade_plays_total Plays.\n# TYPE hitparade_plays_total counter\n\
             hitparade_plays_total 7\n# HELP hitparade_age Age.\n# TYPE hitparade_age gauge\n\
             hitparade_age{region=\"a\\\"b\\\\c\\nd\",shard=\"0\"} 12.034\n"
        );
    }

    #[test]
    fn the_buckets_of_a_histogram_count_up_to_their_bounds() {
        let mut text = Text::default();
        let bounds = ["1".to_owned(), "5".to_owned()];
        text.histogram("size", &[], &bounds, &[2, 0, 3], 40);
        let expected = [
            "size_bucket{le=\"1\"} 2",
            "size_bucket{le=\"5\"} 2",
            "size_bucket{le=\"+Inf\"} 5",
            "size_sum 40",
            "size_count 5",
        ];
        let lines: Vec<String> = expected
            .iter()
            .map(|it| format!("hitparade_{it}\n"))
            .collect();
        assert_eq!(text.0, lines.concat());
    }
}
