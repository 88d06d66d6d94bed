//! How many replicas one metric asks for.
//!
//! The formula is Kubernetes': `ceil(replicas x measured / wanted)`, with what is not measured assumed so that it damps
//! the change (missing pods use nothing on the way up and what is wanted, at least their request, on the way down; pods
//! that are not ready yet use nothing on the way up). Counted in whole numbers, so a ratio on the edge is never rounded
//! across it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};

use crate::object::name_of;
use crate::pods::{is_terminating, phase};
use crate::quantity::thousandths;

/// A young pod's CPU is not believed while it starts (`--horizontal-pod-autoscaler-cpu-initialization-period`).
const STARTING: SignedDuration = SignedDuration::from_mins(5);
/// `--horizontal-pod-autoscaler-initial-readiness-delay`
const FIRST_READY: SignedDuration = SignedDuration::from_secs(30);

/// One pod's measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// In thousandths of the metric's unit.
    pub value: i128,
    pub at: Timestamp,
    /// How long the measurement took; it ended at `at`.
    pub window: SignedDuration,
}

pub(super) type Samples = BTreeMap<String, Sample>;

/// What a metric asks for, and what it measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proposal {
    pub replicas: i32,
    /// Percent of the requests.
    pub utilization: Option<i32>,
    /// Thousandths, per pod.
    pub average: Option<i128>,
    /// Thousandths, in all.
    pub total: Option<i128>,
}

/// How far from 1 a ratio may be without a change, in thousandths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerance {
    pub up: i128,
    pub down: i128,
}

/// Measured over wanted, both non-negative, `wanted > 0`.
#[derive(Clone, Copy, Debug)]
struct Ratio {
    measured: i128,
    wanted: i128,
}

impl Ratio {
    fn is_up(self) -> bool {
        self.measured > self.wanted
    }

    fn is_down(self) -> bool {
        self.measured < self.wanted
    }

    fn within(self, tolerance: Tolerance) -> bool {
        let room = if self.is_up() {
            tolerance.up
        } else {
            tolerance.down
        };
        let off = (self.measured - self.wanted).abs();
        off.saturating_mul(1_000) <= room.saturating_mul(self.wanted)
    }

    /// `ceil(count x measured / wanted)`
    fn of(self, count: usize) -> i32 {
        let count = i128::try_from(count).unwrap_or(i128::MAX);
        let product = self.measured.saturating_mul(count);
        let up = i128::from(product % self.wanted != 0);
        i32::try_from(product / self.wanted + up).unwrap_or(i32::MAX)
    }
}

/// The pods of a target, sorted by what their measurements are worth.
#[derive(Debug, Default, PartialEq, Eq)]
struct Groups {
    counted: Samples,
    unready: BTreeSet<String>,
    missing: BTreeSet<String>,
}

fn groups(pods: &[Pod], samples: &Samples, cpu: bool, now: Timestamp) -> Groups {
    let mut groups = Groups::default();
    for pod in pods {
        let name = name_of(pod).to_owned();
        if is_terminating(pod) || matches!(phase(pod), "Failed" | "Succeeded") {
            continue;
        }
        match samples.get(&name) {
            _ if phase(pod) == "Pending" => {
                groups.unready.insert(name);
            }
            None => {
                groups.missing.insert(name);
            }
            Some(sample) if cpu && is_warming_up(pod, sample, now) => {
                groups.unready.insert(name);
            }
            Some(sample) => {
                groups.counted.insert(name, *sample);
            }
        }
    }
    groups
}

/// Whether the pod's CPU says nothing yet about the load it will take.
fn is_warming_up(pod: &Pod, sample: &Sample, now: Timestamp) -> bool {
    let status = pod.status.as_ref();
    let started = status.and_then(|status| status.start_time.as_ref());
    let ready = status
        .and_then(|status| status.conditions.as_ref())
        .and_then(|conditions| conditions.iter().find(|condition| condition.type_ == "Ready"));
    let (Some(started), Some(ready)) = (started, ready) else {
        return true;
    };
    let changed = ready
        .last_transition_time
        .as_ref()
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    let after =
        |time: Timestamp, length: SignedDuration| time.saturating_add(length).unwrap_or(Timestamp::MAX);
    if after(started.0, STARTING) > now {
        ready.status == "False" || sample.at < after(changed, sample.window)
    } else {
        ready.status == "False" && after(started.0, FIRST_READY) > changed
    }
}

/// The request of a pod for `resource` (of one container if named), in thousandths.
fn request(pod: &Pod, resource: &str, container: Option<&str>) -> Result<i128, String> {
    let spec = pod.spec.as_ref();
    let sidecar = |one: &&Container| one.restart_policy.as_deref() == Some("Always");
    let containers = spec.into_iter().flat_map(|spec| {
        let sidecars = spec.init_containers.iter().flatten().filter(sidecar);
        spec.containers.iter().chain(sidecars)
    });
    let mut total = 0;
    let mut found = false;
    for one in containers.filter(|one| container.is_none_or(|name| one.name == name)) {
        found = true;
        total += one
            .resources
            .as_ref()
            .and_then(|resources| resources.requests.as_ref()?.get(resource))
            .and_then(thousandths)
            .ok_or_else(|| {
                let (name, pod) = (&one.name, name_of(pod));
                format!("missing request for {resource} in container {name} of Pod {pod}")
            })?;
    }
    match container {
        Some(name) if !found => Err(format!(
            "container {name} not present in metrics for pod {}",
            name_of(pod)
        )),
        _ => Ok(total),
    }
}

/// The common part: `wanted(name)` is what one pod ought to use, `measure` weighs samples against it.
fn propose(
    groups: Groups,
    current: i32,
    tolerance: Tolerance,
    fallback: impl Fn(&str) -> i128,
    measure: impl Fn(&Samples) -> Option<Ratio>,
) -> Option<i32> {
    let ratio = measure(&groups.counted)?;
    let up_with_unready = !groups.unready.is_empty() && ratio.is_up();
    if !up_with_unready && groups.missing.is_empty() {
        return Some(if ratio.within(tolerance) {
            current
        } else {
            ratio.of(groups.counted.len())
        });
    }
    let mut assumed = groups.counted;
    let sample = |value| Sample {
        value,
        at: Timestamp::UNIX_EPOCH,
        window: SignedDuration::ZERO,
    };
    if ratio.is_down() {
        assumed.extend(
            groups
                .missing
                .iter()
                .map(|name| (name.clone(), sample(fallback(name)))),
        );
    } else if ratio.is_up() {
        assumed.extend(groups.missing.iter().map(|name| (name.clone(), sample(0))));
    }
    if up_with_unready {
        assumed.extend(groups.unready.iter().map(|name| (name.clone(), sample(0))));
    }
    let damped = measure(&assumed)?;
    let turned = ratio.is_down() && damped.is_up() || ratio.is_up() && damped.is_down();
    if damped.within(tolerance) || turned {
        return Some(current);
    }
    let replicas = damped.of(assumed.len());
    let backwards = damped.is_down() && replicas > current || damped.is_up() && replicas < current;
    Some(if backwards { current } else { replicas })
}

const NO_PODS: &str = "no pods returned by selector while calculating replica count";
const NO_METRICS: &str = "did not receive metrics for targeted pods (pods might be unready)";

/// For a target in percent of the pods' requests.
///
/// # Errors
/// Nothing was measured, or a container has no request.
pub(super) fn by_utilization(
    pods: &[Pod],
    samples: &Samples,
    (resource, container): (&str, Option<&str>),
    (current, target): (i32, i32),
    tolerance: Tolerance,
    now: Timestamp,
) -> Result<Proposal, String> {
    if pods.is_empty() {
        return Err(NO_PODS.to_owned());
    }
    let groups = groups(pods, samples, resource == "cpu", now);
    if groups.counted.is_empty() {
        return Err(NO_METRICS.to_owned());
    }
    let mut requests = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !is_terminating(pod)) {
        requests.insert(name_of(pod).to_owned(), request(pod, resource, container)?);
    }
    let requested = |name: &str| requests.get(name).copied().unwrap_or(0);
    let percent = |samples: &Samples| {
        let used: i128 = samples.values().map(|sample| sample.value).sum();
        let wanted: i128 = samples.keys().map(|name| requested(name)).sum();
        (wanted > 0).then(|| used * 100 / wanted)
    };
    let measured = percent(&groups.counted).ok_or("no metrics returned matched known pods")?;
    let total: i128 = groups.counted.values().map(|sample| sample.value).sum();
    let average = total / i128::try_from(groups.counted.len()).unwrap_or(1);
    let full = i128::from(target.max(100));
    let replicas = propose(
        groups,
        current,
        tolerance,
        |name| requested(name) * full / 100,
        |samples| {
            Some(Ratio {
                measured: percent(samples)?,
                wanted: i128::from(target.max(1)),
            })
        },
    )
    .ok_or("no metrics returned matched known pods")?;
    Ok(Proposal {
        replicas,
        utilization: Some(i32::try_from(measured).unwrap_or(i32::MAX)),
        average: Some(average),
        total: None,
    })
}

/// For a target per pod; `target` in thousandths, above 0. `cpu`: whether young pods' samples are to be doubted.
///
/// # Errors
/// Nothing was measured.
pub(super) fn by_average(
    pods: &[Pod],
    samples: &Samples,
    cpu: bool,
    (current, target): (i32, i128),
    tolerance: Tolerance,
    now: Timestamp,
) -> Result<Proposal, String> {
    if pods.is_empty() {
        return Err(NO_PODS.to_owned());
    }
    let groups = groups(pods, samples, cpu, now);
    let Some(measured) = average(&groups.counted) else {
        return Err(NO_METRICS.to_owned());
    };
    let measure = |samples: &Samples| {
        Some(Ratio {
            measured: average(samples)?,
            wanted: target.max(1),
        })
    };
    let replicas = propose(groups, current, tolerance, |_| target, measure).ok_or(NO_METRICS)?;
    Ok(Proposal {
        replicas,
        utilization: None,
        average: Some(measured),
        total: None,
    })
}

fn average(samples: &Samples) -> Option<i128> {
    let total: i128 = samples.values().map(|sample| sample.value).sum();
    total.checked_div(i128::try_from(samples.len()).ok()?)
}

/// For an external metric with a target for the whole; both in thousandths.
pub(super) fn by_total(
    ready: usize,
    measured: i128,
    (current, target): (i32, i128),
    tolerance: Tolerance,
) -> Proposal {
    let ratio = Ratio {
        measured,
        wanted: target.max(1),
    };
    let replicas = if ratio.within(tolerance) {
        current
    } else {
        ratio.of(ready)
    };
    Proposal {
        replicas,
        utilization: None,
        average: None,
        total: Some(measured),
    }
}

/// For an external metric shared by the pods, with a target for each; both in thousandths.
pub(super) fn by_share(
    measured: i128,
    (current, running, target): (i32, i32, i128),
    tolerance: Tolerance,
) -> Proposal {
    let target = target.max(1);
    let now = Ratio {
        measured,
        wanted: target.saturating_mul(i128::from(current.max(1))),
    };
    let whole = Ratio {
        measured,
        wanted: target,
    };
    let replicas = if now.within(tolerance) {
        current
    } else {
        whole.of(1)
    };
    let running = i128::from(running.max(1));
    Proposal {
        replicas,
        utilization: None,
        average: Some(measured / running + i128::from(measured % running != 0)),
        total: None,
    }
}

#[cfg(test)]
mod tests;
