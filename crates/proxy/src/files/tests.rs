//! Files, as clients meet them.
