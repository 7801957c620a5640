//! Numbers in JSON.

use serde_json::Value;

/// The number with as many digits as tell it from its neighbours; null for NaN and infinity, which JSON lacks.
pub(super) fn float(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}
