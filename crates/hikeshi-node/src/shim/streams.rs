//! The standard streams of a new container: pipes, or a terminal.

use std::cell::RefCell;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::logs::{LogFile, LogPipe};
use super::protocol::{StartRequest, Stdin};
use super::spawn::{open_terminal, output_pipe};

/// What a new container reads and writes: its own ends, and ours.
pub struct Streams {
    pub inner: [OwnedFd; 3],
    pub stdin: Option<OwnedFd>,
    pub terminal: Option<OwnedFd>,
    pub logs: Vec<LogPipe>,
}

impl Streams {
    /// `null` stands where a container has no standard input.
    pub fn open(
        request: &StartRequest,
        null: BorrowedFd<'_>,
        log: &Rc<RefCell<LogFile>>,
    ) -> io::Result<Self> {
        if request.tty {
            let (master, slave) = open_terminal()?;
            fcntl(&master, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))?;
            return Ok(Self {
                inner: [slave.try_clone()?, slave.try_clone()?, slave],
                stdin: None,
                logs: vec![LogPipe::of_terminal(master.try_clone()?, log.clone())],
                terminal: Some(master),
            });
        }
        let (out_read, out_write) = output_pipe()?;
        let (err_read, err_write) = output_pipe()?;
        let (input, stdin) = match request.stdin {
            Stdin::Closed => (null.try_clone_to_owned()?, None),
            Stdin::Open | Stdin::Once => {
                let (read, write) = io::pipe()?;
                (read.into(), Some(write.into()))
            }
        };
        Ok(Self {
            inner: [input, out_write, err_write],
            stdin,
            terminal: None,
            logs: vec![
                LogPipe::new(out_read, "stdout", log.clone()),
                LogPipe::new(err_read, "stderr", log.clone()),
            ],
        })
    }
}
