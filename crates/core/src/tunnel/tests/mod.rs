//! The rules of a session, one by one, and two sides at random.

mod chaos;
mod life;
mod rig;
