//! What an operator says of the voter list.

use super::Node;
use crate::ipc::ClusterAction;

/// One at a time: of two lists that differ in one voter, every two majorities share one.
const BY_FILE: &str = "the list is that of the file: add or take away one entry of [cluster] peers on every node, restart \
                       one node after the other, and wait for a term before the next change";

impl Node {
    /// Begins a change of the list, or says why not.
    pub(super) fn change_list(&mut self, action: &ClusterAction) -> Result<String, String> {
        let Some(cluster) = &self.plan.cluster else {
            return Err(format!("node {} speaks with no other", self.plan.node));
        };
        let known = |id: &str| cluster.list.find(id).is_some();
        match action {
            ClusterAction::Add { id, .. } if known(id) => Err(format!("{id} is in the list already")),
            ClusterAction::Remove { id } if !known(id) => {
                let all: Vec<&str> = cluster.list.members.iter().map(|member| member.id.as_str()).collect();
                Err(format!("no node is called \"{id}\"; there are: {}", all.join(", ")))
            }
            ClusterAction::Add { .. } | ClusterAction::Remove { .. } => Err(BY_FILE.into()),
        }
    }
}
