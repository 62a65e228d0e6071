//! Processes: holding them by pidfd, giving privilege up, being scheduled in time, listing what runs.

mod inherit;
mod list;
mod pidfd;
mod privilege;
mod schedule;
mod signals;
mod sockets;

pub use inherit::{inherit, keep_over_exec};
pub use list::{Process, processes};
pub use pidfd::{Exit, PidFd};
pub use privilege::{Capability, User, as_user, die_with_parent, keep_capabilities, no_new_privileges};
pub use schedule::{
    Breath, at_leisure, close_descriptors_from, lock_memory, real_time, set_name, set_nice,
    set_parent_death_signal, trim_memory,
};
pub use signals::{Signals, Timer};
pub use sockets::{holders, unix_holders};
