//! The rules of a session, one by one, and two sides at random.

mod chaos;
mod credit;
mod golden;
mod hostile;
mod life;
mod rig;
mod turns;
