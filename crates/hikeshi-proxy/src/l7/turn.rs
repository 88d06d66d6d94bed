//! Order among the tasks of one thread.

use std::future::poll_fn;
use std::task::Poll;

/// Goes to the end of the line of this thread's tasks, without a look at what else has come from outside.
pub(super) async fn others_first() {
    let mut been = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut been, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
