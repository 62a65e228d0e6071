//! Network namespaces as Rust values: hosts, wires, faults and probes, for tests, benches and rehearsals.
