//! doctor
use std::path::Path;
use crate::dirs::Dirs;
pub(crate) fn run(_c: &Path, _d: &Dirs, _l: u64) -> anyhow::Result<u8> { Ok(0) }
