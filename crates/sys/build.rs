//! Compiles the gate's BPF program with clang and turns it into plain instructions.
//!
//! The object file is taken apart here, at build time, so that the privileged process holds no ELF loader: what is left
//! for it are instructions, and the places where a map's descriptor is written. Without clang, or with MAINSTAY_NO_BPF=1,
//! the crate is built without `cfg(mainstay_bpf)` and the gate falls back to nft.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SOURCE: &str = "bpf/gate.c";
/// Sections with this prefix are programs.
const PREFIX: &str = "tc/";
/// `R_BPF_64_64`: a 64-bit immediate that names a symbol.
const RELOCATION: u32 = 1;
/// `BPF_PSEUDO_MAP_FD`: the immediate is a map's descriptor.
const MAP_DESCRIPTOR: u8 = 1;

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=MAINSTAY_NO_BPF");
    println!("cargo::rerun-if-env-changed=CLANG");
    println!("cargo::rustc-check-cfg=cfg(mainstay_bpf)");
    if env::var_os("MAINSTAY_NO_BPF").is_some_and(|value| value != "0") {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    match compile(&out.join("gate.o")) {
        Ok(()) => {
            let object = fs::read(out.join("gate.o")).expect("clang wrote it");
            let programs = translate(&object).expect("clang writes whole objects");
            fs::write(out.join("gate.rs"), programs).expect("the build folder is writable");
            println!("cargo::rustc-cfg=mainstay_bpf");
        }
        Err(reason) => println!("cargo::warning=built without the eBPF gate: {reason}"),
    }
}

fn compile(object: &Path) -> Result<(), String> {
    let big = env::var("CARGO_CFG_TARGET_ENDIAN").is_ok_and(|endian| endian == "big");
    let target = if big { "bpfeb" } else { "bpfel" };
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    let mut command = Command::new(&clang);
    command.args(["-target", target, "-O2", "-Wall", "-Wextra", "-Werror", "-c", SOURCE, "-o"]).arg(object);
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            // A clang without the BPF target is like no clang; a fault in our source must not pass unseen.
            if said.contains("error: unable to create target") || said.contains("unknown target triple") {
                return Err(format!("{clang} cannot compile for BPF"));
            }
            panic!("{clang} does not compile {SOURCE}:\n{said}");
        }
        Err(error) => Err(format!("{clang} does not run: {error}")),
    }
}

/// A section of a 64-bit ELF file.
struct Section {
    name: usize,
    kind: u32,
    data: std::ops::Range<usize>,
    link: usize,
    info: usize,
}

/// An ELF file and its byte order.
struct Elf<'a> {
    bytes: &'a [u8],
    big: bool,
}

impl Elf<'_> {
    fn number(&self, at: usize, len: usize) -> Option<usize> {
        let bytes = self.bytes.get(at..at + len)?;
        let add = |sum: usize, byte: &u8| sum << 8 | usize::from(*byte);
        Some(if self.big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
    }

    fn text(&self, table: &Section, at: usize) -> Option<&str> {
        let bytes = self.bytes.get(table.data.start + at..table.data.end)?;
        std::str::from_utf8(&bytes[..bytes.iter().position(|byte| *byte == 0)?]).ok()
    }

    fn sections(&self) -> Option<Vec<Section>> {
        let (start, size, count) = (self.number(40, 8)?, self.number(58, 2)?, self.number(60, 2)?);
        (0..count)
            .map(|index| {
                let at = start + index * size;
                let offset = self.number(at + 24, 8)?;
                Some(Section {
                    name: self.number(at, 4)?,
                    kind: u32::try_from(self.number(at + 4, 4)?).ok()?,
                    data: offset..offset + self.number(at + 32, 8)?,
                    link: self.number(at + 40, 4)?,
                    info: self.number(at + 44, 4)?,
                })
            })
            .collect()
    }
}

/// Writes each program as a Rust constant: its instructions, and which of them load which map.
fn translate(object: &[u8]) -> Option<String> {
    /// `SHT_REL`.
    const RELOCATIONS: u32 = 9;
    let elf = Elf { bytes: object, big: object.get(5) == Some(&2) };
    let sections = elf.sections()?;
    let names = sections.get(elf.number(62, 2)?)?;
    let mut rust = String::new();
    for (index, section) in sections.iter().enumerate() {
        let Some(name) = elf.text(names, section.name)?.strip_prefix(PREFIX) else { continue };
        let mut code = object.get(section.data.clone())?.to_vec();
        let mut maps = String::new();
        for table in sections.iter().filter(|table| table.kind == RELOCATIONS && table.info == index) {
            let symbols = sections.get(table.link)?;
            let texts = sections.get(symbols.link)?;
            for at in table.data.clone().step_by(16) {
                let (offset, info) = (elf.number(at, 8)?, elf.number(at + 8, 8)?);
                assert_eq!(info & 0xffff_ffff, usize::try_from(RELOCATION).ok()?, "only maps are relocated");
                let symbol = symbols.data.start + (info >> 32) * 24;
                let map = match elf.text(texts, elf.number(symbol, 4)?)? {
                    "slots" => "Map::Slots",
                    "deadlines" => "Map::Deadlines",
                    other => panic!("{SOURCE} names the unknown map {other}"),
                };
                // The source register shares a byte with the destination, in the byte order's nibble.
                code[offset + 1] |= if elf.big { MAP_DESCRIPTOR } else { MAP_DESCRIPTOR << 4 };
                write!(maps, "({}, {map}), ", offset / 8).ok()?;
            }
        }
        let upper = name.to_uppercase();
        writeln!(rust, "const {upper}: Program = Program {{ name: {name:?}, maps: &[{maps}], code: &[")
            .ok()?;
        for instruction in code.chunks_exact(8) {
            writeln!(rust, "    {instruction:?},").ok()?;
        }
        rust.push_str("] };\n");
    }
    Some(rust)
}
