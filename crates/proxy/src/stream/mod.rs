//! TCP, UDP and TLS that is passed through.
