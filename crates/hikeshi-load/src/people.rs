//! Who takes part, and who of them is logged in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::client::Login;

/// The people, by number; the last one is the hot account.
pub struct People {
    names: Vec<String>,
    slots: Mutex<Vec<Slot>>,
    wanted: mpsc::UnboundedSender<u32>,
}

#[derive(Default)]
struct Slot {
    login: Option<Login>,
    /// What each of this person's requests has after its first line.
    head: Option<Arc<[u8]>>,
    /// Somebody has been asked to log this person in.
    asked: bool,
    /// When to ask for the next login, while this one is still good.
    renew: Option<Instant>,
}

/// The part of a token's life after which the next is asked for: of those who logged in together some are early, or all
/// would come again together.
const RENEW: std::ops::Range<f64> = 0.5..0.9;

impl People {
    /// `users` people named `prefix` and four digits, and the hot account. Whoever must be logged in comes out of the
    /// receiver.
    pub fn new(prefix: &str, users: u32, hot: &str) -> (Self, mpsc::UnboundedReceiver<u32>) {
        let mut names: Vec<String> = (1..=users.max(1)).map(|n| format!("{prefix}{n:04}")).collect();
        names.push(hot.to_owned());
        let (wanted, receiver) = mpsc::unbounded_channel();
        let slots = names.iter().map(|_| Slot::default()).collect();
        let people = Self {
            names,
            slots: Mutex::new(slots),
            wanted,
        };
        (people, receiver)
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everyone's number.
    pub fn all(&self) -> impl Iterator<Item = u32> + use<> {
        0..u32::try_from(self.names.len()).unwrap_or(u32::MAX)
    }

    /// The hot account's number.
    pub fn hot(&self) -> u32 {
        u32::try_from(self.names.len() - 1).unwrap_or(u32::MAX)
    }

    /// One of the ordinary people.
    pub fn pick(&self, dice: u64) -> u32 {
        // Less than the hot account's number.
        (dice % u64::from(self.hot().max(1))) as u32
    }

    /// The name of a person that takes part; nobody else has one.
    pub fn name(&self, person: u32) -> &str {
        self.names.get(person as usize).map_or("", String::as_str)
    }

    /// The number of a name.
    pub fn number(&self, name: &str) -> Option<u32> {
        let place = self.names.iter().position(|known| known == name)?;
        u32::try_from(place).ok()
    }

    /// The lines that this person's requests begin with; asks for a login when there are none, or they will not do for long.
    pub fn head(&self, person: u32) -> Option<Arc<[u8]>> {
        let mut slots = self.slots();
        let slot = slots.get_mut(person as usize)?;
        let old = slot.renew.is_some_and(|renew| renew <= Instant::now());
        if (slot.head.is_none() || old) && !slot.asked {
            slot.asked = true;
            // Nobody listens only when the run is over.
            let _ = self.wanted.send(person);
        }
        slot.head.clone()
    }

    pub fn login(&self, person: u32) -> Option<Login> {
        self.slots().get(person as usize)?.login.clone()
    }

    /// A login came, or (`None`) did not.
    pub fn logged_in(&self, person: u32, host: &str, login: Option<Login>) {
        let mut slots = self.slots();
        let Some(slot) = slots.get_mut(person as usize) else {
            return;
        };
        slot.asked = false;
        if login.is_none() && slot.renew.is_some_and(|renew| renew <= Instant::now()) {
            // The one there is may still be good.
            return;
        }
        slot.renew = login.as_ref().and_then(|login| {
            let part = RENEW.start + fastrand::f64() * (RENEW.end - RENEW.start);
            let life = Duration::try_from_secs_f64(login.expires_in? * part).ok()?;
            Instant::now().checked_add(life)
        });
        // A line break in it would be the end of a header.
        let login = login.filter(|login| login.token.bytes().all(|byte| byte.is_ascii_graphic()));
        slot.head = login.as_ref().map(|login| {
            let token = &login.token;
            format!("Host: {host}\r\nUser-Agent: hikeshi-load\r\nAuthorization: Bearer {token}\r\n")
                .into_bytes()
                .into()
        });
        slot.login = login;
    }

    /// Chirpy no longer knows the token of this head. One that has come meanwhile stays.
    pub fn expired(&self, person: u32, head: &Arc<[u8]>) {
        if let Some(slot) = self.slots().get_mut(person as usize)
            && slot.head.as_ref().is_some_and(|known| Arc::ptr_eq(known, head))
        {
            slot.head = None;
            slot.login = None;
            slot.renew = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_no_token_is_asked_for_once_and_an_old_answer_does_not_end_a_new_login() {
        let (people, mut wanted) = People::new("person", 3, "tenki");
        assert_eq!(
            (people.name(0), people.name(3), people.hot()),
            ("person0001", "tenki", 3)
        );
        assert!((0..100).all(|dice| people.pick(dice) < 3));
        assert!(people.head(1).is_none() && people.head(1).is_none());
        assert_eq!((wanted.try_recv().ok(), wanted.try_recv().ok()), (Some(1), None));
        let login = |token: &str| {
            let token = token.into();
            Some(Login {
                token,
                expires_in: None,
            })
        };
        people.logged_in(1, "h", login("a"));
        let old = people.head(1).expect("logged in");
        people.logged_in(1, "h", login("b"));
        people.expired(1, &old);
        assert!(people.head(1).is_some_and(|head| head.ends_with(b"Bearer b\r\n")));
        people.logged_in(1, "h", login("a\r\nX: y"));
        assert!(people.head(1).is_none());
    }
    #[test]
    fn a_token_is_renewed_before_it_ends_and_the_old_one_goes_on_meanwhile() {
        let (people, mut wanted) = People::new("person", 1, "tenki");
        let login = |token: &str, expires_in| {
            let (token, expires_in) = (token.into(), Some(expires_in));
            Some(Login { token, expires_in })
        };
        let bears = |token: &str| {
            let end = format!("Bearer {token}\r\n");
            people.head(0).is_some_and(|head| head.ends_with(end.as_bytes()))
        };
        people.logged_in(0, "h", login("young", 3600.0));
        assert!(bears("young") && wanted.try_recv().is_err());
        people.logged_in(0, "h", login("old", 0.0));
        assert!(bears("old") && bears("old"));
        assert_eq!((wanted.try_recv().ok(), wanted.try_recv().ok()), (Some(0), None));
        people.logged_in(0, "h", None);
        assert!(bears("old"), "the login failed, and will be tried again");
        assert_eq!(wanted.try_recv().ok(), Some(0));
        people.logged_in(0, "h", login("young", 3600.0));
        assert!(bears("young") && wanted.try_recv().is_err());
    }
}
