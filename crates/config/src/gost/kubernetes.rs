//! A configuration inside Kubernetes manifests: a ConfigMap has it, and the ingress plugin's arguments say its domain.

use super::tree::{Map, Node, Value};
use super::{Cx, yaml};

/// The configuration among the documents of a file.
pub(super) fn unpack(documents: Vec<Node>, file: u32, cx: &mut Cx<'_>) -> Map {
    let maps = documents.into_iter().filter_map(|node| match node.value {
        Value::Map(map) => Some(map),
        Value::Nothing | Value::Text(_) | Value::List(_) => None,
    });
    let mut maps: Vec<Map> = maps.collect();
    let is_manifest = |map: &Map| {
        let mut map = map.clone();
        map.text(&["kind"]).is_some() && map.text(&["apiversion"]).is_some()
    };
    if !maps.iter().any(is_manifest) {
        // gost reads the first alone.
        return if maps.is_empty() { Map::default() } else { maps.swap_remove(0) };
    }
    if cx.domain.is_none() {
        cx.domain = maps.iter().find_map(domain);
    }
    let mut found: Vec<Map> = Vec::new();
    for map in &mut maps {
        if map.text(&["kind"]).is_none_or(|kind| kind.text != "ConfigMap") {
            continue;
        }
        let data = map.map("data");
        for (text, pos) in data.blocks() {
            let first = pos.line;
            let documents = yaml::read(&text, file, first, &mut cx.report);
            if let Some(Node { value: Value::Map(map), .. }) = documents.into_iter().next()
                && map.has("services")
            {
                found.push(map);
            }
        }
    }
    if let Some(second) = found.get(1) {
        let text = "a second configuration of gost in this file is left out";
        cx.report.dropped(second.pos, text, "import each by itself");
    }
    match found.into_iter().next() {
        Some(map) => map,
        None => {
            let pos = crate::import::report::Pos { file, line: 1 };
            let text = "no ConfigMap of these manifests has a configuration of gost";
            cx.report.error(pos, text, "give the file that has `services`");
            Map::new(pos)
        }
    }
}

/// `--domain` among the arguments of a container that runs the ingress plugin.
fn domain(manifest: &Map) -> Option<String> {
    let mut spec = manifest.clone().map("spec").map("template").map("spec");
    for mut container in spec.maps("containers") {
        let args = container.texts("args");
        if args.iter().any(|arg| arg.text == "ingress") {
            let said = args.iter().find_map(|arg| arg.text.strip_prefix("--domain=").map(str::to_owned));
            let apart = args.windows(2).find(|two| two[0].text == "--domain").map(|two| two[1].text.clone());
            return said.or(apart);
        }
    }
    None
}
