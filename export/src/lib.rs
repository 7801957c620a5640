//! The workshop of Siskin.
