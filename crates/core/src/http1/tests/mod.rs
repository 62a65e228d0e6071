//! Heads and bodies as they come from those who mean well and those who do not.

mod chunks;
mod requests;
mod responses;

use super::*;

const LIMITS: HeadLimits = HeadLimits { bytes: 4096, fields: 40, drop_underscores: false, bare_lf: false };
