//! Lines, from a request to a file.
