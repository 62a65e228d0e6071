//! Synthetic observations and what is found in them.
