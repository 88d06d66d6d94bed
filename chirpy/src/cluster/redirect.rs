//! Calls go where the nodes say that keys are. A slot on its way to another node is answered for by both: the one that gives it
//! away says `ASK` for keys that are there already, and the other takes a command for them only right after `ASKING`, which
//! holds for that one command.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use super::{Cluster, RedisError, resp};

/// Before a call is made again whose slot has moved or whose connection broke.
pub const AGAIN: Duration = Duration::from_millis(20);

/// A reply, which may be an error.
pub trait Told {
    /// What the error says, as Redis wrote it: its code first. None of any other reply.
    fn error(&self) -> Option<String>;
}

/// What takes commands to a node.
pub trait Carrier {
    type Reply: Told + Send;

    /// The replies to `replies` packed commands, whatever they say.
    ///
    /// # Errors
    /// When the node could not be reached, or the connection to it broke.
    fn call(
        &self,
        node: &str,
        packed: Vec<u8>,
        replies: usize,
    ) -> impl Future<Output = Result<Vec<Self::Reply>, RedisError>> + Send;
}

/// Sends `replies` packed commands, all for keys of `slot`, to the slot's primary within `within`. They may be sent twice (a
/// connection broke, a slot moved), so they must be such that twice is once.
///
/// # Errors
/// An error reply, or [`RedisError::Timeout`] when there was no connection or no answer in time.
pub async fn run<C: Carrier>(
    carrier: &C,
    cluster: &Cluster,
    slot: u16,
    packed: &[u8],
    replies: usize,
    within: Duration,
) -> Result<Vec<C::Reply>, RedisError> {
    let mut asked = String::new();
    let attempts = async {
        loop {
            let map = cluster.map().await;
            let node = map.node(slot).ok_or(RedisError::NoNode(slot))?;
            node.clone_into(&mut asked);
            match attempt(carrier, node, packed, replies).await {
                // A connection that died unused, or a slot that moved: the next try sees the present.
                Err(error) if again(&error, slot) => {
                    cluster.refresh().await;
                    tokio::time::sleep(AGAIN).await;
                }
                outcome => return outcome,
            }
        }
    };
    match tokio::time::timeout(within, attempts).await {
        Ok(outcome) => outcome,
        Err(_) => Err(RedisError::Timeout { node: asked }),
    }
}

/// Whether the same call may succeed in a moment. Not when it was another slot that moved: whoever put commands for several
/// slots into one call has to sort them anew.
fn again(error: &RedisError, slot: u16) -> bool {
    let ours = error.slot().is_none_or(|about| about == slot);
    (error.elsewhere() && ours) || matches!(error, RedisError::Broken { .. })
}

async fn attempt<C: Carrier>(
    carrier: &C,
    node: &str,
    packed: &[u8],
    replies: usize,
) -> Result<Vec<C::Reply>, RedisError> {
    let mut answers = carrier.call(node, packed.to_vec(), replies).await?;
    follow(carrier, node, packed, &mut answers).await?;
    good(node, answers)
}

/// The answers of a node, unless one of them is an error.
///
/// # Errors
/// The first error reply.
pub fn good<R: Told>(node: &str, answers: Vec<R>) -> Result<Vec<R>, RedisError> {
    match answers.iter().find_map(Told::error) {
        Some(message) => Err(RedisError::Reply {
            node: node.to_owned(),
            message,
        }),
        None => Ok(answers),
    }
}

/// Asks again, of the node it names, each command that `node` answered `ASK` to, and puts the answer in its place.
///
/// # Errors
/// When that node cannot be reached, or answers with an error.
pub async fn follow<C: Carrier>(
    carrier: &C,
    node: &str,
    packed: &[u8],
    answers: &mut [C::Reply],
) -> Result<(), RedisError> {
    let mut elsewhere: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (place, answer) in answers.iter().enumerate() {
        if let Some(target) = answer.error().and_then(|message| target(&message, node)) {
            elsewhere.entry(target).or_default().push(place);
        }
    }
    if elsewhere.is_empty() {
        return Ok(());
    }
    let commands = resp::commands(packed);
    let asking = redis::cmd("ASKING").get_packed_command();
    for (target, places) in elsewhere {
        let mut packed = vec![];
        for place in &places {
            packed.extend_from_slice(&asking);
            packed.extend_from_slice(commands.get(*place).copied().unwrap_or_default());
        }
        let told = carrier.call(&target, packed, 2 * places.len()).await?;
        // Every other answer is to `ASKING`.
        let told = told.into_iter().skip(1).step_by(2);
        let told = good(&target, told.collect())?;
        for (place, answer) in places.into_iter().zip(told) {
            answers[place] = answer;
        }
    }
    Ok(())
}

/// The node that an error of `node` says to ask. One that it names by its port alone is on the same host.
fn target(message: &str, node: &str) -> Option<String> {
    let named = message.strip_prefix("ASK ")?.split(' ').nth(1)?;
    if !named.starts_with(':') {
        return Some(named.to_owned());
    }
    let (host, _) = node.rsplit_once(':')?;
    Some(format!("{host}{named}"))
}

#[cfg(test)]
mod tests;
