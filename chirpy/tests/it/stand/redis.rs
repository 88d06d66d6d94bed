//! The stand's Redis Cluster, and what befalls it.

use std::process::Command;

use super::{Stand, free_port};

/// What a node (`host:port`) answers `redis-cli`; nothing when it cannot be reached.
fn ask(node: &str, words: &[&str]) -> String {
    let (host, port) = node.rsplit_once(':').expect("host:port");
    let mut command = Command::new("redis-cli");
    let output = command.args(["-h", host, "-p", port]).args(words).output();
    String::from_utf8_lossy(&output.expect("redis-cli runs").stdout).into_owned()
}

fn is_primary(node: &str) -> bool {
    ask(node, &["role"]).starts_with("master")
}

fn serves(node: &str) -> bool {
    ask(node, &["cluster", "info"]).contains("cluster_state:ok")
}

impl Stand {
    /// Six nodes that serve: their addresses.
    pub(super) async fn redis(&mut self) -> String {
        let ports: Vec<u16> = (0..6).map(|_| free_port()).collect();
        for port in &ports {
            let data = self.folder.path().join(format!("redis-{port}"));
            std::fs::create_dir(&data).expect("a folder");
            let port = port.to_string();
            let mut redis = Command::new("redis-server");
            redis.args([
                "--port",
                &port,
                "--bind",
                "127.0.0.1",
                "--cluster-enabled",
                "yes",
                "--save",
                "",
                "--dir",
            ]);
            self.spawn(redis.arg(&data), &format!("redis-{port}"));
        }
        let nodes: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        self.until("the cluster is made", || {
            let mut create = Command::new("redis-cli");
            create.args(["--cluster", "create"]).args(&nodes).args([
                "--cluster-replicas",
                "1",
                "--cluster-yes",
            ]);
            std::future::ready(create.output().is_ok_and(|made| made.status.success()))
        })
        .await;
        // The nodes agree on the slots some moments before each of them serves.
        for node in &nodes {
            self.until(&format!("Redis node {node} serves"), || {
                std::future::ready(serves(node))
            })
            .await;
        }
        nodes.join(",")
    }

    /// Has every replica take its primary's place, and waits until all slots are served again.
    pub async fn fail_primaries_over(&self) {
        let mut replicas = self.redis_nodes();
        replicas.retain(|node| ask(node, &["role"]).starts_with("slave"));
        assert_eq!(replicas.len(), 3);
        for node in &replicas {
            self.until(&format!("Redis node {node} is a primary"), || {
                if !is_primary(node) {
                    ask(node, &["cluster", "failover"]);
                }
                std::future::ready(is_primary(node))
            })
            .await;
        }
    }

    /// Ends a Redis primary for good, as `kill -9` does, and waits until the other nodes have missed it and its replica has
    /// taken its place.
    pub async fn lose_a_redis_primary(&self) {
        let nodes = self.redis_nodes();
        for node in &nodes {
            // Missed sooner than after the 15 s as shipped.
            ask(node, &["config", "set", "cluster-node-timeout", "2000"]);
        }
        // A replica that has never had its primary's data does not stand for election.
        self.until("every replica has its primary's data", || {
            let in_step = |node: &String| {
                let said = ask(node, &["info", "replication"]);
                said.contains("role:master") || said.contains("master_link_status:up")
            };
            std::future::ready(nodes.iter().all(in_step))
        })
        .await;
        let lost = nodes.iter().find(|node| is_primary(node)).expect("a primary");
        let said = ask(lost, &["info", "server"]);
        let pid = said
            .lines()
            .find_map(|line| line.strip_prefix("process_id:"))
            .expect("its process")
            .trim();
        let killed = Command::new("kill")
            .args(["-9", pid])
            .status()
            .expect("kill runs");
        assert!(killed.success());
        self.until("a replica is the primary", || {
            let mut others = nodes.iter().filter(|node| *node != lost);
            let primaries = nodes.iter().filter(|node| is_primary(node)).count();
            std::future::ready(primaries == 3 && others.all(|node| serves(node)))
        })
        .await;
    }
}
