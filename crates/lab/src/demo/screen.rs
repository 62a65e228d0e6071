//! The drawing: one row for each node, one block for each slice of time in which it answered.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::probe::UdpClient;
use crate::timeline::Timeline;

/// Blocks in a row.
const WIDTH: usize = 76;

/// A block stands for at least this long.
const SLICE: Duration = Duration::from_millis(330);

/// The drawing is renewed this often.
const REDRAW: Duration = Duration::from_millis(100);

/// Green, blue, yellow, magenta, cyan: one for each node in turn.
const COLOURS: [u8; 5] = [32, 34, 33, 35, 36];

/// Red, for what was lost.
const RED: u8 = 31;

/// Draws on a terminal, or prints plain lines.
pub(super) struct Screen {
    drawing: bool,
    nodes: Vec<String>,
    marks: Vec<(Instant, char)>,
    sentence: String,
    drawn: usize,
    next: Instant,
}

impl Screen {
    pub(super) fn new(drawing: bool, nodes: &[String]) -> Self {
        let sentence = "all is well".to_owned();
        Self { drawing, nodes: nodes.to_vec(), marks: Vec::new(), sentence, drawn: 0, next: Instant::now() }
    }

    /// Something happens: it gets a mark in the drawing, or a line of its own.
    pub(super) fn event(
        &mut self,
        mark: char,
        sentence: &str,
        client: &UdpClient,
        out: &mut dyn Write,
    ) -> Result<()> {
        self.marks.push((Instant::now(), mark));
        sentence.clone_into(&mut self.sentence);
        if self.drawing {
            return self.draw(client, out);
        }
        let at = client.record().origin.elapsed().as_secs_f64();
        writeln!(out, "{at:5.1} s  {sentence}")?;
        Ok(out.flush()?)
    }

    /// Draws again if it is time.
    pub(super) fn tick(&mut self, client: &UdpClient, out: &mut dyn Write) -> Result<()> {
        if self.drawing && Instant::now() >= self.next {
            self.next = Instant::now() + REDRAW;
            self.draw(client, out)?;
        }
        Ok(())
    }

    /// The whole picture, for good.
    pub(super) fn last(&mut self, client: &UdpClient, out: &mut dyn Write) -> Result<()> {
        "the end".clone_into(&mut self.sentence);
        self.draw(client, out)
    }

    fn draw(&mut self, client: &UdpClient, out: &mut dyn Write) -> Result<()> {
        let record = client.record();
        let lines = self.picture(&record);
        drop(record);
        let mut text = String::new();
        if self.drawing && self.drawn > 0 {
            text += &format!("\x1b[{}A", self.drawn);
        }
        for line in &lines {
            text += line;
            text += if self.drawing { "\x1b[K\n" } else { "\n" };
        }
        self.drawn = lines.len();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    fn picture(&self, record: &Timeline) -> Vec<String> {
        let elapsed = record.samples.last().map_or(Duration::ZERO, |sample| sample.sent);
        let slice = SLICE.max(elapsed / u32::try_from(WIDTH).unwrap_or(1));
        let slices = slices(record, slice);
        let mut lines = vec![format!("{:5.1} s  {}", elapsed.as_secs_f64(), self.sentence)];
        for (number, name) in self.nodes.iter().enumerate() {
            let here = record.nodes.iter().position(|known| known == name);
            let answered = |slice: &Slice| here.is_some_and(|node| slice.by.contains(&node));
            let blocks = slices.iter().map(|slice| if answered(slice) { self.block() } else { ' ' });
            let colour = COLOURS[number % COLOURS.len()];
            lines.push(format!("{name:>8} {}", self.coloured(colour, &blocks.collect::<String>())));
        }
        let lost = slices.iter().map(|slice| if slice.lost { 'x' } else { ' ' });
        lines.push(format!("{:>8} {}", "lost", self.coloured(RED, lost.collect::<String>().trim_end())));
        lines.push(format!("{:>8} {}", "", self.marked(record, slice)));
        lines
    }

    fn block(&self) -> char {
        if self.drawing { '█' } else { '#' }
    }

    fn coloured(&self, colour: u8, text: &str) -> String {
        if self.drawing { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// What happened when: a letter for each fault, `h` for its healing.
    fn marked(&self, record: &Timeline, slice: Duration) -> String {
        let mut row = vec![' '; WIDTH + 1];
        for (at, mark) in &self.marks {
            let column = position(at.saturating_duration_since(record.origin), slice);
            if let Some(place) = row.get_mut(column) {
                *place = *mark;
            }
        }
        row.into_iter().collect::<String>().trim_end().to_owned()
    }
}

/// What a client saw in one slice.
#[derive(Clone, Default)]
struct Slice {
    by: Vec<usize>,
    lost: bool,
}

fn position(at: Duration, slice: Duration) -> usize {
    usize::try_from(at.as_nanos() / slice.as_nanos().max(1)).unwrap_or(usize::MAX)
}

/// The youngest requests may still be answered: they are not lost yet.
fn slices(record: &Timeline, slice: Duration) -> Vec<Slice> {
    let end = record.samples.last().map_or(Duration::ZERO, |sample| sample.sent);
    let mut slices = vec![Slice::default(); position(end, slice) + 1];
    for sample in &record.samples {
        let place = &mut slices[position(sample.sent, slice)];
        match sample.answer {
            Some(answer) if !place.by.contains(&usize::from(answer.node)) => {
                place.by.push(usize::from(answer.node));
            }
            Some(_) => {}
            None => place.lost |= end - sample.sent > Duration::from_millis(100),
        }
    }
    slices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::{Answer, Sample};

    #[test]
    fn the_picture_shows_who_answered_and_where_requests_were_lost() {
        let mut record = Timeline::new(Instant::now(), Duration::from_millis(330));
        record.nodes = vec!["web-1".into(), "web-2".into()];
        for (number, node) in (0..).zip([Some(0), Some(0), None, Some(1)]) {
            let sent = Duration::from_millis(330 * number);
            let answer = node.map(|node| Answer { at: sent, node });
            record.samples.push(Sample { sent, late: Duration::ZERO, answer });
        }
        let mut screen = Screen::new(false, &record.nodes);
        screen.marks.push((record.origin + Duration::from_millis(700), 'K'));
        let picture = screen.picture(&record);
        assert_eq!(picture[1..], ["   web-1 ##  ", "   web-2    #", "    lost   x", "           K"]);
    }
}
