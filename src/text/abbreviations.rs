//! stub
/// Language
pub struct Language;
