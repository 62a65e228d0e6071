//! Authenticated sessions between our own processes.
