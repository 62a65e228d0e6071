//! What hubs are told with every PING: load, and which services are well.

use std::cell::Cell;
use std::rc::Rc;

use mainstay_link::tunnel::{Health, News};

use super::offer::Offered;

/// The state of all services.
pub(super) fn of(offered: &[Rc<Offered>], load: &Cell<u32>) -> News {
    let health = |offered: &Rc<Offered>| {
        let health = if offered.healthy() { Health::Up } else { Health::Down };
        (offered.offer().route(), health)
    };
    News { load: load.get(), targets: offered.iter().map(health).collect() }
}
