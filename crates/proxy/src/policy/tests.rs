//! The way in, as clients meet it.
