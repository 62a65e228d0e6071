//! gost's wire byte by byte, the rules of a session one by one, and two sides at random.

mod begin;
mod chaos;
mod golden;
mod hostile;
mod life;
mod noise;
mod rig;
