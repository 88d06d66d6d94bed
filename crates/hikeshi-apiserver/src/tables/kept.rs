//! Rows of objects that have not changed since they were last listed. Reading an object's fields and writing its metadata
//! is most of what a long list costs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};

use super::cell::Cell;
use super::{Partial, printer};
use crate::registry::Resource;

/// One object's row.
#[derive(Debug)]
pub(super) struct Kept {
    pub cells: Vec<Cell>,
    /// The object as a `PartialObjectMetadata`.
    pub metadata: Box<RawValue>,
}

/// The rows of stored objects, by where these stand in memory. An address is not given to another object while it is
/// known here: a `Weak` keeps it.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    rows: HashMap<usize, (Weak<Value>, Arc<Kept>)>,
    /// At this many the rows of objects that are gone are let go.
    full: usize,
}

/// Fewer rows than this are not worth looking through.
const FEW: usize = 1_024;

impl Rows {
    /// The rows of built-in kinds' objects, in order. `None`: one could not be written.
    pub(super) fn of(&self, resource: &Resource, objects: &[Arc<Value>]) -> Option<Vec<Arc<Kept>>> {
        let printer = printer(resource);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut row = |object: &Arc<Value>| {
            let place = Arc::as_ptr(object).addr();
            if let Some((_, row)) = known.rows.get(&place) {
                return Some(Arc::clone(row));
            }
            let row = Arc::new(Kept {
                cells: (printer.cells)(object),
                metadata: to_raw_value(&Partial(object)).ok()?,
            });
            known.keep(place, Arc::downgrade(object), Arc::clone(&row));
            Some(row)
        };
        objects.iter().map(&mut row).collect()
    }
}

impl Known {
    fn keep(&mut self, place: usize, object: Weak<Value>, row: Arc<Kept>) {
        if self.rows.len() >= self.full.max(FEW) {
            self.rows.retain(|_, (object, _)| object.strong_count() > 0);
            self.full = 2 * self.rows.len();
        }
        self.rows.insert(place, (object, row));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::find;

    #[test]
    fn a_row_is_written_once_and_goes_with_its_object() {
        let resource = find("", "v1", "configmaps").unwrap();
        let rows = Rows::default();
        let object = |n: usize| Arc::new(json!({"metadata": {"name": n.to_string()}}));
        let one = [object(0)];
        let first = rows.of(&resource, &one).unwrap();
        assert!(Arc::ptr_eq(&first[0], &rows.of(&resource, &one).unwrap()[0]));
        for n in 1..3 * FEW {
            let row = &rows.of(&resource, &[object(n)]).unwrap()[0];
            assert_eq!(
                row.cells[0],
                n.to_string().into(),
                "an address taken again shows another's row"
            );
        }
        assert!(rows.known.lock().unwrap().rows.len() <= FEW + 1);
        assert!(Arc::ptr_eq(&first[0], &rows.of(&resource, &one).unwrap()[0]));
    }
}
