//! A request's way through: decided on, answered or passed to a backend, and accounted for.

mod sides;

pub use sides::{Ask, Backend, Broken, Client, More, ResponseBody, Sink, Source, Trailer};
