//! From YAML, or JSON, to a tree: bounded in depth and size, aliases included.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::tree::{Map, Node, Value};
use crate::import::report::{Pos, Report};

/// A few aliases can ask for gigabytes; people write some hundred values.
const MOST_NODES: usize = 100_000;
/// gost's own go six deep.
const DEEPEST: usize = 64;
const HELP: &str = "gost would not start with this; `gost -C FILE` says where";

/// What is being read, innermost last.
enum Open {
    List(Pos, usize, Vec<Node>),
    Map(Pos, usize, Map, Option<(String, Pos)>, Vec<Node>),
}

/// Reads the documents of a text whose first line is `first` of file `file`; up to the first mistake.
pub(super) fn read(text: &str, file: u32, first: u32, report: &mut Report) -> Vec<Node> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader =
        Reader { file, first, report, open: Vec::new(), anchors: HashMap::new(), nodes: 0, done: Vec::new() };
    for event in Parser::new_from_str(text) {
        let going = match event {
            Ok((event, span)) => reader.event(event, span),
            Err(error) => {
                let line = u32::try_from(error.marker().line()).unwrap_or(u32::MAX);
                let text = format!("this is not YAML: {}", error.info());
                reader.report.error(reader.pos(line), text, HELP);
                false
            }
        };
        if !going {
            break;
        }
    }
    // What was begun before a mistake is half a meaning.
    reader.done
}

struct Reader<'r> {
    file: u32,
    first: u32,
    report: &'r mut Report,
    open: Vec<Open>,
    /// Values that have a name, how many values each is and how deep.
    anchors: HashMap<usize, (Node, usize, usize)>,
    nodes: usize,
    done: Vec<Node>,
}

impl Reader<'_> {
    fn pos(&self, line: u32) -> Pos {
        Pos { file: self.file, line: line.max(1).saturating_add(self.first - 1) }
    }

    fn wrong(&mut self, pos: Pos, text: String) -> bool {
        self.report.error(pos, text, HELP);
        false
    }

    /// False ends it.
    fn event(&mut self, event: Event<'_>, span: Span) -> bool {
        let pos = self.pos(u32::try_from(span.start.line()).unwrap_or(u32::MAX));
        self.nodes += 1;
        if self.nodes > MOST_NODES || self.open.len() > DEEPEST {
            return self.wrong(pos, too_much());
        }
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => true,
            Event::Alias(id) => {
                let Some((node, size, depth)) = self.anchors.get(&id) else {
                    return self.wrong(pos, "an alias contains itself".to_owned());
                };
                if self.nodes + size > MOST_NODES || self.open.len() + depth > DEEPEST {
                    return self.wrong(pos, too_much());
                }
                self.nodes += size;
                let value = node.value.clone();
                self.put(Node { pos, value })
            }
            Event::Scalar(text, style, anchor, _) => {
                let nothing =
                    style == ScalarStyle::Plain && ["", "~", "null", "Null", "NULL"].contains(&&*text);
                let value = if nothing { Value::Nothing } else { Value::Text(text.into_owned()) };
                let node = Node { pos, value };
                if anchor > 0 {
                    self.anchors.insert(anchor, (node.clone(), 1, 1));
                }
                self.put(node)
            }
            Event::SequenceStart(anchor, _) => {
                self.open.push(Open::List(pos, anchor, Vec::new()));
                true
            }
            Event::MappingStart(anchor, _) => {
                self.open.push(Open::Map(pos, anchor, Map::new(pos), None, Vec::new()));
                true
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let (node, anchor) = match self.open.pop() {
                    Some(Open::List(pos, anchor, list)) => (Node { pos, value: Value::List(list) }, anchor),
                    Some(Open::Map(pos, anchor, mut map, _, merged)) => {
                        merged.iter().for_each(|node| merge(&mut map, node));
                        (Node { pos, value: Value::Map(map) }, anchor)
                    }
                    None => return true,
                };
                if anchor > 0 {
                    let (size, depth) = measure(&node);
                    self.nodes += size;
                    self.anchors.insert(anchor, (node.clone(), size, depth));
                }
                self.put(node)
            }
        }
    }

    /// A whole value: it belongs to what is open.
    fn put(&mut self, node: Node) -> bool {
        match self.open.last_mut() {
            None => self.done.push(node),
            Some(Open::List(_, _, list)) => list.push(node),
            Some(Open::Map(_, _, map, name, merged)) => match name.take() {
                None => {
                    let text = match node.value {
                        Value::Text(text) => text,
                        Value::Nothing => "null".to_owned(),
                        Value::List(_) | Value::Map(_) => {
                            return self.wrong(node.pos, "a name is no text".to_owned());
                        }
                    };
                    *name = Some((text, node.pos));
                }
                Some((text, _)) if text == "<<" => merged.push(node),
                Some((text, pos)) => {
                    if !map.add_at(&text, pos, node) {
                        return self.wrong(pos, format!("`{text}` stands here twice"));
                    }
                }
            },
        }
        true
    }
}

/// `<<: *other`, or a list of them.
fn merge(map: &mut Map, node: &Node) {
    match &node.value {
        Value::Map(other) => map.inherit(other),
        Value::List(list) => {
            for node in list {
                if let Value::Map(other) = &node.value {
                    map.inherit(other);
                }
            }
        }
        Value::Nothing | Value::Text(_) => {}
    }
}

/// How many values a value is made of, and how deep they go.
fn measure(node: &Node) -> (usize, usize) {
    let sum = |parts: &mut dyn Iterator<Item = &Node>| {
        parts.map(measure).fold((1, 1), |(all, deepest), (size, depth)| (all + size, deepest.max(depth + 1)))
    };
    match &node.value {
        Value::Nothing | Value::Text(_) => (1, 1),
        Value::List(list) => sum(&mut list.iter()),
        Value::Map(map) => sum(&mut map.values()),
    }
}

fn too_much() -> String {
    format!("more than {MOST_NODES} values, or {DEEPEST} within each other")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn document(text: &str) -> (Vec<Node>, Vec<String>) {
        let mut report = Report::default();
        let file = report.open(Path::new("gost.yaml"));
        let nodes = read(text, file, 1, &mut report);
        (nodes, report.into_findings().iter().map(ToString::to_string).collect())
    }

    fn map(text: &str) -> Map {
        let (mut nodes, findings) = document(text);
        assert_eq!(findings, [""; 0]);
        match nodes.remove(0).value {
            Value::Map(map) => map,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn values_know_their_lines_and_json_is_read_too() {
        let mut root = map("# head\nservices:\n- name: a\n  addr: :80\n");
        let mut service = root.maps("services").remove(0);
        assert_eq!(
            service.text(&["addr"]).map(|said| (said.text, said.pos.line)),
            Some((":80".to_owned(), 4))
        );
        let mut root = map("{\"services\": [{\"name\": \"a\"}]}");
        assert_eq!(root.maps("services").len(), 1);
    }

    #[test]
    fn anchors_aliases_and_merges_are_what_they_stand_for() {
        let mut root = map("a: &x {p: 1, q: 2}\nb:\n  <<: *x\n  q: 3\nc: *x\n");
        let mut b = root.map("b");
        assert_eq!(b.text(&["p"]).map(|said| said.text).as_deref(), Some("1"));
        assert_eq!(root.map("c").text(&["q"]).map(|said| said.text).as_deref(), Some("2"));
    }

    #[test]
    fn a_bomb_of_aliases_ends_in_a_sentence() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for n in 1..30 {
            let of = format!("*a{}", n - 1);
            text += &format!("a{n}: &a{n} [{}]\n", vec![of; 10].join(", "));
        }
        let (_, findings) = document(&text);
        assert!(findings[0].contains("more than 100000 values"), "{findings:?}");
    }

    #[test]
    fn depth_mistakes_and_doubles_end_in_a_sentence() {
        for (text, says) in [
            ("[".repeat(100), "within each other"),
            ("a: 1\na: 2".to_owned(), "gost.yaml:2: error: `a` stands here twice"),
            ("a: [1".to_owned(), "this is not YAML"),
            ("a: &x [*x]".to_owned(), "an alias contains itself"),
            ("? [a]\n: b".to_owned(), "a name is no text"),
        ] {
            let (_, findings) = document(&text);
            assert!(findings[0].contains(says), "{says}: {findings:?}");
        }
    }
}
