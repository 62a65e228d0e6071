//! Claims about routes.

mod choice;
mod fields;
