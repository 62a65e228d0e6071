//! Where hubs find each other, as it is written.

use super::List;
use crate::read::table;
use crate::values::{Secret, Time};

table! {
    /// A store in which the hubs of a cluster find each other: exactly one of `redis` and `etcd`.
    Registry "[registry]" {
        /// URLs of a redis: redis://HOST:PORT/DATABASE or rediss://. Of several, the next one is asked when one fails.
        redis: List<String>,
        /// URLs of the members of an etcd cluster, http or https.
        etcd: List<String>,
        /// What our keys there begin with: another one for each cluster that shares the store. Default "mainstay".
        prefix: String,
        /// A hub's record ends so long after it was last written, 3s to 10m; the same on every hub. Default "10s".
        ttl: Time,
        /// File of the CA certificates that the store's own is verified with; the system's when absent.
        ca: String,
        /// File of our certificate chain for the store.
        cert: String,
        /// File of its key.
        cert_key: String,
        /// The user whom the store knows. With redis `password` may stand alone.
        user: String,
        /// That user's password.
        password: Secret,
    }
}
