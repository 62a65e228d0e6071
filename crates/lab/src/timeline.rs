//! What a client's record means: the outage, what was lost, who answered when.

use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};

/// A client's record: one sample for each request, in the order sent.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// The moment from which the samples count.
    pub origin: Instant,
    /// The pause between two requests.
    pub interval: Duration,
    /// Names of those who answered, by their number in the samples.
    pub nodes: Vec<String>,
    /// The requests.
    pub samples: Vec<Sample>,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it left.
    pub sent: Duration,
    /// How much later than planned it left: the measuring thread's own delay.
    pub late: Duration,
    /// The answer, if one came.
    pub answer: Option<Answer>,
}

/// One answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// When it came.
    pub at: Duration,
    /// Who gave it: a number in [`Timeline::nodes`].
    pub node: u8,
}

/// A time during which one host gave all the answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The host.
    pub node: String,
    /// Its first answer.
    pub from: Duration,
    /// Its last answer.
    pub to: Duration,
}

impl Timeline {
    /// An empty record.
    pub fn new(origin: Instant, interval: Duration) -> Self {
        Self { origin, interval, nodes: Vec::new(), samples: Vec::new() }
    }

    /// From the first request to the last.
    pub fn whole(&self) -> Range<Instant> {
        let end = self.samples.last().map_or(Duration::ZERO, |sample| sample.sent);
        self.origin..self.origin + end
    }

    /// The longest time without an answer within `window`, less the interval: what a client could notice.
    pub fn outage(&self, window: &Range<Instant>) -> Duration {
        let (start, end) = self.offsets(window);
        let mut answers: Vec<Duration> = self.answers(window).map(|answer| answer.at).collect();
        answers.extend([start, end]);
        answers.sort_unstable();
        let gaps = answers.windows(2).map(|pair| pair[1] - pair[0]);
        gaps.max().unwrap_or_default().saturating_sub(self.interval)
    }

    /// Requests sent within `window` that nobody answered.
    pub fn lost(&self, window: &Range<Instant>) -> usize {
        self.sent(window).filter(|sample| sample.answer.is_none()).count()
    }

    /// Requests sent within `window`.
    pub fn requests(&self, window: &Range<Instant>) -> usize {
        self.sent(window).count()
    }

    /// The latest that a request of `window` left after its time.
    pub fn lateness(&self, window: &Range<Instant>) -> Duration {
        self.sent(window).map(|sample| sample.late).max().unwrap_or_default()
    }

    /// Who answered, one span after the other.
    pub fn holders(&self, window: &Range<Instant>) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        for answer in self.answers(window) {
            let node = &self.nodes[usize::from(answer.node)];
            match spans.last_mut() {
                Some(span) if span.node == *node => span.to = answer.at,
                _ => spans.push(Span { node: node.clone(), from: answer.at, to: answer.at }),
            }
        }
        spans
    }

    /// Whether `node` and nobody else answered all that was sent from `from` to shortly before `to`.
    pub fn is_steady(&self, node: &str, from: Instant, to: Instant) -> bool {
        // The youngest requests may still be on their way.
        let settled = to - Duration::from_millis(20).min(to.saturating_duration_since(from));
        let window = from..settled;
        let mut sent = self.sent(&window).peekable();
        let named = |answer: Answer| self.nodes[usize::from(answer.node)] == node;
        sent.peek().is_some() && sent.all(|sample| sample.answer.is_some_and(named))
    }

    fn offsets(&self, window: &Range<Instant>) -> (Duration, Duration) {
        let start = window.start.saturating_duration_since(self.origin);
        (start, window.end.saturating_duration_since(self.origin).max(start))
    }

    fn sent(&self, window: &Range<Instant>) -> impl Iterator<Item = &Sample> {
        let (start, end) = self.offsets(window);
        let first = self.samples.partition_point(|sample| sample.sent < start);
        self.samples[first..].iter().take_while(move |sample| sample.sent < end)
    }

    fn answers(&self, window: &Range<Instant>) -> impl Iterator<Item = Answer> {
        let (start, end) = self.offsets(window);
        let answers = self.samples.iter().filter_map(|sample| sample.answer);
        answers.filter(move |answer| (start..end).contains(&answer.at))
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.whole();
        let (requests, lost) = (self.requests(&whole), self.lost(&whole));
        let (outage, late) = (millis(self.outage(&whole)), millis(self.lateness(&whole)));
        write!(out, "{requests} requests, {lost} lost, longest outage {outage} ms, own lateness {late} ms")?;
        for span in self.holders(&whole) {
            write!(out, "\n  {} to {} ms: {}", millis(span.from), millis(span.to), span.node)?;
        }
        Ok(())
    }
}

/// Milliseconds with one digit.
pub fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

/// The middle one; of an even number the lower of the middle two. `None` of nothing.
pub fn median<T: PartialOrd + Copy>(values: &[T]) -> Option<T> {
    let mut sorted = values.to_vec();
    sorted.sort_by(|one, other| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal));
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests every 2 ms; `None` is a loss, else the number of the node, 1 ms later.
    fn record(answers: &[Option<u8>]) -> Timeline {
        let mut timeline = Timeline::new(Instant::now(), Duration::from_millis(2));
        timeline.nodes = vec!["a".into(), "b".into()];
        for (number, node) in (0..).zip(answers) {
            let sent = Duration::from_millis(2 * number);
            let answer = node.map(|node| Answer { at: sent + Duration::from_millis(1), node });
            timeline.samples.push(Sample { sent, late: Duration::ZERO, answer });
        }
        timeline
    }

    #[test]
    fn an_outage_is_the_gap_between_answers_less_the_interval() {
        let timeline = record(&[Some(0), Some(0), None, None, None, Some(1), Some(1)]);
        let window = timeline.whole();
        assert_eq!(timeline.outage(&window), Duration::from_millis(6));
        assert_eq!(timeline.lost(&window), 3);
    }

    #[test]
    fn an_outage_that_never_ends_reaches_to_the_end_of_the_window() {
        let timeline = record(&[Some(0), None, None, None]);
        let window = timeline.origin..timeline.origin + Duration::from_millis(103);
        assert_eq!(timeline.outage(&window), Duration::from_millis(100));
    }

    #[test]
    fn holders_are_told_apart_and_their_losses_between_do_not_split_them() {
        let timeline = record(&[Some(0), None, Some(0), Some(1), Some(1)]);
        let spans = timeline.holders(&(timeline.origin..timeline.origin + Duration::from_secs(1)));
        let names: Vec<&str> = spans.iter().map(|span| span.node.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(spans[0].to, Duration::from_millis(5));
    }

    #[test]
    fn the_median_of_five_is_the_third() {
        assert_eq!(median(&[9, 1, 7, 3, 5]), Some(5));
        assert_eq!(median::<u8>(&[]), None);
    }
}
