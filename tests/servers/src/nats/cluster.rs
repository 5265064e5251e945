//! A cluster of nodes on one machine.

use crate::missing::Missing;
use crate::port::free_port;
use crate::program::Toolbox;

use super::{Nats, NatsOptions, TRIES, missing, program};

/// A JetStream cluster on loopback. Its nodes are named `n1`, `n2`, ... and fail one by one.
pub struct NatsCluster {
    nodes: Vec<Nats>,
}

impl NatsCluster {
    /// Starts one of so many nodes, each syncing every write. Returns when it has elected its leader.
    pub async fn start(nodes: usize) -> Result<Self, Missing> {
        Self::start_with(nodes, NatsOptions::default()).await
    }

    /// Starts one with these options for each node. A port and a store are not to be given: they differ.
    pub async fn start_with(nodes: usize, options: NatsOptions) -> Result<Self, Missing> {
        let program = program::get(Toolbox::of_the_machine()).await.map_err(missing)?;
        let mut why = String::new();
        for _ in 0..TRIES {
            let ports: Vec<u16> = (0..nodes).map(|_| free_port()).collect();
            let routes: Vec<String> = ports.iter().map(|port| format!("\"nats://127.0.0.1:{port}\"")).collect();
            let routes = routes.join(", ");
            let node = |(n, &port): (usize, &u16)| {
                Nats::prepare(&program, &options, &format!("n{}", n + 1), Some((port, &routes)))
            };
            let cluster =
                Self { nodes: ports.iter().enumerate().map(node).collect::<Result<_, _>>().map_err(missing)? };
            match cluster.begin().await {
                Ok(()) => return Ok(cluster),
                Err(error) => why = error,
            }
        }
        Err(missing(why))
    }

    async fn begin(&self) -> Result<(), String> {
        for node in &self.nodes {
            node.own().daemon.start().map_err(|error| error.to_string())?;
        }
        for node in &self.nodes {
            node.ready().await?;
        }
        Ok(())
    }

    /// Where clients connect: all nodes, separated by commas.
    pub fn url(&self) -> String {
        self.nodes.iter().map(Nats::url).collect::<Vec<_>>().join(",")
    }

    /// The nodes, in the order of their names.
    pub fn nodes(&self) -> &[Nats] {
        &self.nodes
    }

    /// The node of this name, as a stream's `cluster.leader` has it.
    ///
    /// # Panics
    /// When there is none.
    pub fn node(&self, name: &str) -> &Nats {
        self.nodes.iter().find(|node| node.name() == name).unwrap_or_else(|| panic!("no node is called {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cluster_elects_a_leader_and_takes_a_node_back() {
        let cluster = NatsCluster::start(3).await.unwrap_or_else(|missing| panic!("{missing}"));
        assert_eq!(cluster.url().split(',').count(), 3);
        cluster.node("n2").kill().await;
        assert!(cluster.node("n2").has_ended());
        cluster.node("n2").start_again().await;
    }
}
