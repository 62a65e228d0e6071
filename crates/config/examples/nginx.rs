//! x
fn main() {
    let mut args = std::env::args().skip(1);
    let file = args.next().unwrap();
    let part = match args.next().as_deref() {
        Some("http") => mainstay_config::nginx::Part::Http,
        Some("stream") => mainstay_config::nginx::Part::Stream,
        _ => mainstay_config::nginx::Part::Main,
    };
    let done = mainstay_config::nginx::import(
        std::path::Path::new(&file),
        &mainstay_config::nginx::Disk,
        &mainstay_config::nginx::Options { part, prefix: None },
    );
    for f in &done.findings {
        eprintln!("{f}");
    }
    println!("{}", done.toml);
    match mainstay_config::parse_str("x.toml", &done.toml, &|_| None, mainstay_config::Checks::NONE) {
        Ok(l) => {
            for w in l.warnings {
                eprintln!("CHECK WARN {w}");
            }
        }
        Err(r) => eprintln!("CHECK FAILED {r}"),
    }
    eprintln!("exit {}", done.exit_code(false));
}
