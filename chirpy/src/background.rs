//! A second thread of a role, for work that must not come between requests.

use anyhow::Context as _;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A thread with a runtime of its own, which ends when this is dropped. What runs on it then is dropped too.
pub struct Background {
    handle: Handle,
    _until_dropped: oneshot::Sender<()>,
}

impl Background {
    /// # Errors
    /// When the system gives no thread.
    pub fn start(name: &str) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (until_dropped, dropped) = oneshot::channel::<()>();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _ = runtime.block_on(dropped);
            })
            .context("a thread")?;
        Ok(Self {
            handle,
            _until_dropped: until_dropped,
        })
    }

    /// Runs on the thread.
    pub fn spawn<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.handle.spawn(work)
    }

    /// Calls what spawns tasks by itself, so that they run on the thread.
    pub fn within<T>(&self, setup: impl FnOnce() -> T) -> T {
        let _entered = self.handle.enter();
        setup()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_spawned_runs_on_the_thread_even_while_ours_is_busy() {
        let background = Background::start("elsewhere").expect("a thread");
        let name = || std::thread::current().name().map(str::to_owned);
        let (sender, receiver) = std::sync::mpsc::channel();
        let direct = background.spawn(async move { name() });
        let within = background.within(|| tokio::spawn(async move { sender.send(name()) }));
        // Ours does not let go of its thread here.
        let told = receiver.recv_timeout(std::time::Duration::from_secs(30));
        assert_eq!(told.expect("sent").as_deref(), Some("elsewhere"));
        assert_eq!(direct.await.expect("ended").as_deref(), Some("elsewhere"));
        assert!(within.await.expect("ended").is_ok());
    }
}
