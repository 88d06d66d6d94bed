//! Small facts about objects: owners, age, random and stable name suffixes.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use kube::Resource;
use kube::api::ObjectMeta;

/// The letters that Kubernetes' generated names are made of: no vowels, nothing that looks like something else.
pub(crate) const NAME_LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A random suffix as in `web-7c5ddbdf54-x8k2p`.
pub(crate) fn random_suffix() -> String {
    (0..5)
        .map(|_| char::from(NAME_LETTERS[fastrand::usize(..NAME_LETTERS.len())]))
        .collect()
}

/// The reference that makes `owner` the controller of another object.
pub(crate) fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The uid of the object's controller.
pub(crate) fn controller_uid(meta: &ObjectMeta) -> Option<&str> {
    let owners = meta.owner_references.as_ref()?;
    owners
        .iter()
        .find(|owner| owner.controller == Some(true))
        .map(|owner| owner.uid.as_str())
}

/// Whether the object with `uid` controls the object with this metadata.
pub(crate) fn is_controlled_by(meta: &ObjectMeta, uid: Option<&String>) -> bool {
    uid.is_some_and(|uid| controller_uid(meta) == Some(uid.as_str()))
}

/// The name, empty when the API server has not given one yet.
pub(crate) fn name_of<K: Resource>(object: &K) -> &str {
    object.meta().name.as_deref().unwrap_or_default()
}

/// The creation time; the epoch for an object that was never stored.
pub(crate) fn created(meta: &ObjectMeta) -> Timestamp {
    meta.creation_timestamp
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0)
}

pub(crate) fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(name).map(String::as_str)
}

pub(crate) fn label<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(name).map(String::as_str)
}

/// `now` as the API writes it, in whole seconds.
pub(crate) fn time(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

/// A count of replicas as the API writes it.
pub(crate) fn count(items: usize) -> i32 {
    i32::try_from(items).unwrap_or(i32::MAX)
}
