use std::time::{Duration, Instant};

use hikeshi_node::shim::protocol::*;

use crate::support::{World, within};

#[tokio::test]
async fn a_container_over_its_memory_limit_is_oom_killed() {
    let world = World::new();
    let mut pod = world.pod("one").await;
    let limits = Limits {
        memory_bytes: Some(64 << 20),
        cpu_millis: None,
    };
    let program =
        "x=bytearray(256<<20)\nfor i in range(0,len(x),4096): x[i]=1\nimport time; time.sleep(1000)";
    pod.start_with("greedy", &["python3", "-c", program], 0, limits)
        .await
        .unwrap();
    let exit = pod.ended("greedy").await;
    assert_eq!((exit.code, exit.oom_killed), (137, true));
}

#[tokio::test]
async fn a_busy_container_is_held_to_its_cpu_limit() {
    let world = World::new();
    let mut pod = world.pod("one").await;
    let limits = Limits {
        cpu_millis: Some(200),
        memory_bytes: None,
    };
    pod.start_with("busy", &["sh", "-c", "while :; do :; done"], 0, limits)
        .await
        .unwrap();
    let start = Instant::now();
    let mut usage: UsageReply = pod.init.call(&Request::Usage).await.unwrap();
    let first = usage.containers[0].cpu_nanos;
    // Long enough, in CPU time, for the share to show: a loaded machine only makes it smaller.
    within(async {
        while usage.containers[0].cpu_nanos - first < 400_000_000 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            usage = pod.init.call(&Request::Usage).await.unwrap();
        }
    })
    .await;
    let share = (usage.containers[0].cpu_nanos - first) as f64 / start.elapsed().as_nanos() as f64;
    assert!(share < 0.25, "used {share} of a CPU");
}

#[tokio::test]
async fn usage_counts_a_containers_tree() {
    let world = World::new();
    let mut pod = world.pod("one").await;
    pod.start("idle", &["sleep", "100000"]).await;
    pod.start("busy", &["sh", "-c", "sh -c 'while :; do :; done' & wait"])
        .await;
    within(async {
        loop {
            let usage: UsageReply = pod.init.call(&Request::Usage).await.unwrap();
            let of = |name: &str| {
                usage
                    .containers
                    .iter()
                    .find(|one| one.name == name)
                    .unwrap()
                    .clone()
            };
            assert!(of("idle").cpu_nanos < 100_000_000);
            if of("busy").cpu_nanos > 200_000_000 {
                assert!(of("busy").memory_bytes > 100_000);
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
