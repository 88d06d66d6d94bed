//! JSON patch (RFC 6902), with Kubernetes' bounds: a few kilobytes of `copy` operations, each doubling the last, would
//! otherwise make an object of any size.

use std::io::{self, Write};

use json_patch::{PatchError, PatchOperation};
use serde_json::Value;

use crate::app::MAX_BODY;
use crate::status::{ApiError, ApiResult};

/// Kubernetes' own limit.
const MOST_OPERATIONS: usize = 10_000;

fn refuse(text: String) -> ApiError {
    let message = format!("the server rejected our request due to an error in our request: {text}");
    ApiError::new(422, "Invalid", message)
}

/// A JSON patch on a copy of the object.
pub(crate) fn json(object: &Value, patch: Value) -> ApiResult<Value> {
    if let Some(count) = patch.as_array().map(Vec::len).filter(|n| *n > MOST_OPERATIONS) {
        let message = format!(
            "Request entity too large: The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {count}"
        );
        return Err(ApiError::new(413, "RequestEntityTooLarge", message));
    }
    let patch: json_patch::Patch = serde_json::from_value(patch).map_err(|e| refuse(e.to_string()))?;
    let mut object = object.clone();
    let mut copied = 0;
    for (at, operation) in patch.0.iter().enumerate() {
        if let PatchOperation::Copy(copy) = operation
            && let Some(source) = object.pointer(copy.from.as_str())
        {
            copied += size(source);
            if copied > MAX_BODY {
                return Err(refuse(format!(
                    "operation '/{at}' failed at path '{}': the accumulated size increase of copy is {copied}, \
                     exceeding the limit {MAX_BODY}",
                    copy.path
                )));
            }
        }
        // What an operation that fails leaves behind is only our copy.
        json_patch::patch_unsafe(&mut object, std::slice::from_ref(operation)).map_err(
            |mut error: PatchError| {
                error.operation = at;
                refuse(error.to_string())
            },
        )?;
    }
    Ok(object)
}

/// The bytes of a value as JSON.
fn size(value: &Value) -> usize {
    struct Count(usize);
    impl Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Neither a value nor counting can fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_are_carried_out_in_order_and_the_one_at_fault_is_named() {
        let object = json!({"a": {"b": 1}});
        let patch =
            json!([{"op": "copy", "from": "/a", "path": "/c"}, {"op": "add", "path": "/c/b", "value": 2}]);
        assert_eq!(
            json(&object, patch).unwrap(),
            json!({"a": {"b": 1}, "c": {"b": 2}})
        );
        let patch = json!([{"op": "add", "path": "/d", "value": 2}, {"op": "remove", "path": "/none"}]);
        let error = json(&object, patch).unwrap_err();
        assert_eq!(error.code, 422);
        assert!(
            error.message.contains("operation '/1' failed at path '/none'"),
            "{}",
            error.message
        );
    }

    #[test]
    fn copies_that_double_are_stopped() {
        let double = |n: usize| {
            let mut patch = vec![json!({"op": "add", "path": "/x", "value": {}})];
            patch.extend((0..n).map(|i| json!({"op": "copy", "from": "/x", "path": format!("/x/{i}")})));
            json(&json!({}), Value::Array(patch))
        };
        assert!(double(10).is_ok());
        // Sixty doublings would be 2^60 objects.
        let error = double(60).unwrap_err();
        assert_eq!(error.code, 422);
        assert!(
            error.message.contains("accumulated size increase of copy")
                && error.message.ends_with("the limit 3145728"),
            "{}",
            error.message
        );
    }

    #[test]
    fn so_many_operations_and_no_more() {
        let patch = |n: usize| {
            let one = json!({"op": "add", "path": "/x", "value": 1});
            json(&json!({}), Value::Array(vec![one; n]))
        };
        assert!(patch(MOST_OPERATIONS).is_ok());
        let error = patch(MOST_OPERATIONS + 1).unwrap_err();
        assert_eq!(
            (error.code, error.reason.as_str()),
            (413, "RequestEntityTooLarge")
        );
    }
}
