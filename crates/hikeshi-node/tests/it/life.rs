use hikeshi_node::shim::launch::{is_alive, kill_recorded, read_record};
use hikeshi_node::shim::protocol::*;

use crate::support::{World, eventually};

/// Processes on the host whose command line holds `mark`.
fn holding(mark: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| {
        entry.file_name().to_str()?.parse::<i32>().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(mark).then_some(line)
    });
    lines.collect()
}

/// A number of seconds to sleep that only this test uses.
fn unique_sleep() -> String {
    format!("{}.{}", 100_000 + std::process::id(), fastrand_like())
}

fn fastrand_like() -> u128 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .subsec_nanos()
        .into()
}

#[tokio::test]
async fn output_becomes_a_log_and_the_exit_is_told() {
    let world = World::new();
    let mut pod = world.pod("one").await;
    pod.start(
        "job",
        &["sh", "-c", "echo one; echo two >&2; printf three; exit 4"],
    )
    .await;
    let exit = pod.ended("job").await;
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (4, None, false));
    let mut log = pod.log("job", 0);
    log.sort();
    assert_eq!(log, ["one", "three", "two"]);
    pod.start_with("job", &["sh", "-c", "echo again"], 1, Limits::default())
        .await
        .unwrap();
    assert_eq!(pod.ended("job").await.code, 0);
    assert_eq!(pod.log("job", 1), ["again"]);
}

#[tokio::test]
async fn killing_init_leaves_no_process() {
    let world = World::new();
    let mut pod = world.pod("one").await;
    let seconds = unique_sleep();
    let script = format!("setsid sleep {seconds} & exec sleep {seconds}");
    pod.start("job", &["sh", "-c", &script]).await;
    let mark = format!("sleep {seconds}");
    eventually("both sleeps run", || holding(&mark).len() == 2).await;
    kill_recorded(&read_record(&pod.dir).unwrap());
    eventually("no process is left", || {
        holding(&mark).is_empty() && !is_alive(&pod.record)
    })
    .await;
}

#[tokio::test]
async fn closing_the_lifeline_ends_the_pod() {
    let mut world = World::new();
    let mut pod = world.pod("one").await;
    let seconds = unique_sleep();
    pod.start("job", &["sleep", &seconds]).await;
    let mark = format!("sleep {seconds}");
    eventually("it runs", || holding(&mark).len() == 1).await;
    world.let_go();
    eventually("no process is left", || {
        holding(&mark).is_empty() && !is_alive(&pod.record)
    })
    .await;
}

#[tokio::test]
async fn shutdown_answers_and_ends_the_pod() {
    let world = World::new();
    let mut pod = world.pod("one").await;
    pod.start("job", &["sleep", "100000"]).await;
    pod.init.command(&Request::Shutdown).await.unwrap();
    eventually("it ends", || !is_alive(&pod.record)).await;
}

#[tokio::test]
async fn a_containers_end_takes_its_children_along_and_spares_the_others() {
    let world = World::new();
    let mut pod = world.pod("one").await;
    let (mine, other) = (unique_sleep(), unique_sleep());
    pod.start("other", &["sleep", &other]).await;
    pod.start("job", &["sh", "-c", &format!("setsid sleep {mine} & read x")])
        .await;
    assert_eq!(pod.ended("job").await.code, 1);
    eventually("its child is gone", || {
        holding(&format!("sleep {mine}")).is_empty()
    })
    .await;
    assert_eq!(holding(&format!("sleep {other}")).len(), 1);
    pod.init
        .command(&Request::Signal {
            container: "other".into(),
            signal: 15,
        })
        .await
        .unwrap();
    assert_eq!(pod.ended("other").await.signal, Some(15));
}

#[tokio::test]
async fn pid_1_stands_for_the_container_inside_the_pod() {
    let world = World::new();
    let mut pod = world.pod("one").await;
    pod.start("job", &["sleep", "100000"]).await;
    assert_eq!(pod.run(&["kill", "1"]).await.0, 0);
    assert_eq!(pod.ended("job").await.code, 143);
    assert!(is_alive(&pod.record));
}

#[tokio::test]
async fn a_second_kubelet_finds_the_pod_as_it_is() {
    let world = World::new();
    let mut pod = world.pod("one").await;
    let started = pod.start("job", &["sleep", "100000"]).await;
    drop(pod.init);
    let mut again = hikeshi_node::shim::InitClient::connect(&pod.dir).unwrap();
    let status: StatusReply = again.call(&Request::Status).await.unwrap();
    assert_eq!(status.containers[0].pid, started.pid);
    assert!(status.containers[0].exit.is_none());
}

/// The other tests once more, as somebody who is not root.
#[test]
fn pods_need_no_privileges() {
    use std::os::unix::process::CommandExt;
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let world = World::new();
    let tests = world.path().join("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &tests).unwrap();
    let folder = world.path().join("tmp");
    std::fs::create_dir(&folder).unwrap();
    std::os::unix::fs::chown(&folder, Some(12_345), Some(12_345)).unwrap();
    let output = std::process::Command::new(tests)
        .args([
            "exec::",
            "network::",
            "life::killing",
            "life::output",
            "limits::a_container",
        ])
        .env("TMPDIR", &folder)
        .current_dir("/")
        .uid(12_345)
        .gid(12_345)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}
