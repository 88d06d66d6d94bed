use std::fs::File;
use std::io::{Read, Write};

use hikeshi_node::shim::InitClient;
use hikeshi_node::shim::protocol::*;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use crate::support::{World, environment, within, words};

#[tokio::test]
async fn exit_codes_and_streams_come_back() {
    let world = World::new();
    let pod = world.pod("one").await;
    assert_eq!(
        pod.run(&["sh", "-c", "echo out; echo err >&2; exit 7"]).await,
        (7, "out\n".into(), "err\n".into())
    );
    assert_eq!(pod.run(&["sh", "-c", "kill -9 $$"]).await.0, 137);
}

#[tokio::test]
async fn a_container_reads_what_is_written_to_its_standard_input() {
    let world = World::new();
    let mut pod = world.pod("one").await;
    pod.start_reading("once", &["sh", "-c", "cat; echo end"], Stdin::Once)
        .await;
    let mut stdin = pod.stdin("once").await.unwrap();
    let taken = pod.stdin("once").await.unwrap_err();
    assert!(
        taken
            .to_string()
            .contains("standard input of container once is not open"),
        "{taken}"
    );
    stdin.write_all(b"hello\n").unwrap();
    // Whoever attached leaves: the input ends.
    drop(stdin);
    assert_eq!(pod.ended("once").await.code, 0);
    assert_eq!(pod.log("once", 0), ["hello", "end"]);

    pod.start_reading("open", &["sh", "-c", "read a; read b; echo $a $b"], Stdin::Open)
        .await;
    for word in ["one\n", "two\n"] {
        pod.stdin("open")
            .await
            .unwrap()
            .write_all(word.as_bytes())
            .unwrap();
    }
    assert_eq!(pod.ended("open").await.code, 0);
    assert_eq!(pod.log("open", 0), ["one two"]);
    pod.start("closed", &["cat"]).await;
    assert_eq!(pod.ended("closed").await.code, 0);
    pod.stdin("closed").await.unwrap_err();
}

#[tokio::test]
async fn a_container_on_a_terminal_is_watched_and_typed_to() {
    let world = World::new();
    let mut pod = world.pod("one").await;
    let script = "test -t 0 && test -t 1 && test -t 2 || exit 3; stty -echo; printf 'name? '; read name; stty size; echo hello $name";
    pod.start_on_terminal("shell", &["sh", "-c", script]).await;
    let (mut keys, mut shown) = pod.terminal("shell").await.unwrap();
    let mut screen = String::new();
    while !screen.contains("name? ") {
        screen.push_str(&next(&mut shown).await);
    }
    // Whoever looks later sees the line that waits for an answer.
    let (_, mut second) = pod.terminal("shell").await.unwrap();
    assert_eq!(next(&mut second).await, "name? ");
    keys.write_all(b"hikeshi\n").unwrap();
    assert_eq!(pod.ended("shell").await.code, 0);
    while !screen.contains("hello hikeshi") {
        screen.push_str(&next(&mut shown).await);
    }
    assert_eq!(pod.log("shell", 0).last().unwrap(), "hello hikeshi");
    pod.terminal("shell").await.unwrap_err();
}

/// What comes next through a pipe that does not block.
async fn next(pipe: &mut pipe::Receiver) -> String {
    let mut buffer = vec![0; 4096];
    let count = within(pipe.read(&mut buffer)).await;
    String::from_utf8_lossy(&buffer[..count.unwrap()]).into_owned()
}

#[tokio::test]
async fn a_pod_sees_its_image_s_user_its_name_and_itself_alone() {
    let world = World::new();
    let data = world.volume("data");
    let mut spec = world.spec("one");
    spec.binds.push(Bind {
        source: data.clone(),
        target: "/data/deep".into(),
        read_only: false,
        sub_path: None,
    });
    let config = world.volume("config");
    std::fs::write(config.join("a.conf"), "x=1").unwrap();
    spec.binds.push(Bind {
        source: config,
        target: "/etc/app".into(),
        read_only: true,
        sub_path: None,
    });
    let pod = world.pod_with(&spec, "").await;
    let (_, out, err) = pod
        .run(&["sh", "-c", "id -un; id -u; id -g; hostname; cat /etc/app/a.conf"])
        .await;
    assert_eq!(out, "redis\n999\n998\none\nx=1", "{err}");
    let (code, _, err) = pod
        .run(&["sh", "-c", "echo hi > /data/deep/file && touch /etc/app/b"])
        .await;
    assert_ne!(code, 0);
    assert!(err.contains("Read-only"), "{err}");
    assert_eq!(std::fs::read_to_string(data.join("file")).unwrap(), "hi\n");
    let (_, out, _) = pod.run(&["sh", "-c", "ls -d /proc/[0-9]* | wc -l"]).await;
    assert!(out.trim().parse::<u32>().unwrap() <= 4, "{out}");
    let (code, ..) = pod
        .run(&["sh", "-c", "test -e /work || test -e /home/* || touch /usr/bin/x"])
        .await;
    assert_ne!(code, 0);
}

#[tokio::test]
async fn user_0_of_a_pod_has_no_way_to_the_host() {
    let world = World::new();
    let config = world.volume("config");
    std::fs::write(config.join("a.conf"), "x=1").unwrap();
    let mut spec = world.spec("one");
    (spec.user.uid, spec.user.gid) = (0, 0);
    spec.user.name = "root".into();
    spec.binds.push(Bind {
        source: config.clone(),
        sub_path: None,
        target: "/config".into(),
        read_only: true,
    });
    let pod = world.pod_with(&spec, "").await;
    let (_, out, _) = pod
        .run(&[
            "sh",
            "-c",
            "id -u; for fd in 0 1 2 3 4 5 6 7 8 9 10 11 12; do ls -d /proc/1/fd/$fd/..; done",
        ])
        .await;
    assert_eq!(out, "0\n", "the init's descriptors lead to the host's folders");
    let (code, _, err) = pod.run(&["mount", "-o", "remount,bind,rw", "/config"]).await;
    assert_ne!(code, 0);
    assert!(
        err.contains("permission denied") || err.contains("must be superuser"),
        "{err}"
    );
    let (code, ..) = pod.run(&["sh", "-c", "echo x=2 > /config/a.conf"]).await;
    assert_ne!(code, 0);
    assert_eq!(std::fs::read_to_string(config.join("a.conf")).unwrap(), "x=1");
    // What an image's user 0 is for still works.
    let (code, _, err) = pod.run(&["sh", "-c", "touch /srv/a && chown 0:0 /srv/a"]).await;
    assert_eq!(code, 0, "{err}");
}

#[tokio::test]
async fn a_part_of_a_volume_is_mounted_and_links_in_it_do_not_lead_out() {
    let world = World::new();
    let claim = world.volume("claim");
    std::fs::create_dir(claim.join("part")).unwrap();
    std::fs::write(claim.join("part/file"), "mine").unwrap();
    let outside = world.volume("outside");
    std::os::unix::fs::symlink(&outside, claim.join("way-out")).unwrap();
    let bind = |sub_path: &str, target: &str| Bind {
        source: claim.clone(),
        sub_path: (!sub_path.is_empty()).then(|| sub_path.into()),
        target: target.into(),
        read_only: false,
    };
    let mut spec = world.spec("one");
    spec.binds = vec![bind("part", "/part")];
    let pod = world.pod_with(&spec, "").await;
    assert_eq!(pod.run(&["cat", "/part/file"]).await.1, "mine");

    for (name, binds) in [
        ("out", vec![bind("way-out", "/part")]),
        // The place of a mount inside another volume, through a link that was left there.
        (
            "through",
            vec![bind("", "/claim"), bind("part", "/claim/way-out/new")],
        ),
    ] {
        let mut spec = world.spec(name);
        spec.binds = binds;
        assert!(world.launched(&spec, "").await.is_err(), "{name}");
    }
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
}

#[tokio::test]
async fn a_missing_program_is_an_error_of_the_request() {
    let world = World::new();
    let mut pod = world.pod("one").await;
    let error = pod
        .start_with("web", &["no-such-program"], 0, Limits::default())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"exec: "no-such-program": executable file not found in $PATH"#
    );
}

#[tokio::test]
async fn a_terminal_resizes_and_interrupts() {
    let world = World::new();
    let pod = world.pod("one").await;
    let mut init = InitClient::connect(&pod.dir).unwrap();
    let request = ExecRequest {
        container: None,
        argv: words(&["sh"]),
        env: environment(),
        cwd: "/".into(),
        dropped_capabilities: 0,
        tty: true,
    };
    let (started, mut fds): (Started, _) = init.call_with(&Request::Exec(request), &[]).await.unwrap();
    let master = fds.remove(0);
    let size = libc::winsize {
        ws_row: 33,
        ws_col: 101,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    use std::os::fd::AsRawFd;
    // SAFETY: TIOCSWINSZ reads one winsize.
    assert_eq!(
        unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) },
        0
    );
    let mut terminal = File::from(master);
    terminal
        .write_all(b"stty size; sh -c 'tty; exec sleep 1000'\n")
        .unwrap();
    let seen = tokio::task::spawn_blocking(move || {
        let (mut text, mut buffer) = (String::new(), [0; 1024]);
        let mut interrupted = false;
        // The master reads EIO once the last program has left the terminal.
        while let Ok(count) = terminal.read(&mut buffer) {
            if count == 0 {
                break;
            }
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
            if !interrupted && text.contains("/dev/pts/") {
                interrupted = true;
                // Ctrl-C ends sleep; then the shell itself is told to end.
                terminal.write_all(b"\x03exit 5\n").unwrap();
            }
        }
        text
    });
    let exit: ExecExit = within(init.call(&Request::ExecWait { id: started.id }))
        .await
        .unwrap();
    let text = within(seen).await.unwrap();
    assert_eq!(exit.exit_code, 5, "{text}");
    assert!(text.contains("33 101"), "{text}");
}
