//! Claims about routes.

mod choice;
mod errors;
mod explain;
mod fields;
mod steps;
mod target;
mod values;
