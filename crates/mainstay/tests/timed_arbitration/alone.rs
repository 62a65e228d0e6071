//! Nodes that are alone.
