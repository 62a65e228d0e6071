//! HTTP/2: connections of clients and to backends.
