//! Handles: what C holds and must give back.
//!
//! A handle is the address of a box. In debug builds the addresses of those that live are noted, so that a handle that
//! was freed, or never made, is an error instead of an access to memory that is another's.

#![allow(unsafe_code)]

use core::ptr;
use std::sync::{Mutex, MutexGuard, TryLockError};

use super::error::{CError, Status};

/// A handle that a function of the C ABI uses: null, or one that C got from [`Out::put`] and has not given back.
#[repr(transparent)]
pub struct Borrowed<T>(*const T);

impl<T> Borrowed<T> {
    /// What the handle stands for.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] for null, and in debug builds for a handle that does not live.
    pub fn get(&self, name: &str) -> Result<&T, CError> {
        if !self.0.is_null() && !live::has(self.0) {
            let message = format!("{name} is no handle that lives: it was freed, or never made");
            return Err(CError::new(Status::InvalidArgument, message));
        }
        // SAFETY: null, or the address of a box that C has not given back, and so nobody frees or moves; handles are
        // only ever borrowed immutably.
        unsafe { self.0.as_ref() }.ok_or_else(|| CError::null(name))
    }
}

/// A handle that C gives back: null, or one that it got from [`Out::put`] and does not use any more.
#[repr(transparent)]
pub struct Owned<T>(*mut T);

impl<T> Owned<T> {
    /// Frees what the handle stands for. In debug builds a handle that does not live is left alone.
    pub fn free(self) {
        if self.0.is_null() {
            return;
        }
        if !live::remove(self.0) {
            eprintln!("siskin: a handle was freed that does not live: freed twice, or never made");
            return;
        }
        // SAFETY: from `Box::into_raw`, and C gives it back once.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

/// What a handle called `name` stands for, for this call alone.
///
/// # Errors
/// [`Status::Busy`] while another call has it, [`Status::Internal`] after one that panicked.
pub fn lock<'a, T>(exclusive: &'a Mutex<T>, name: &str) -> Result<MutexGuard<'a, T>, CError> {
    exclusive.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => {
            CError::new(Status::Busy, format!("another call uses this {name}: make one for each thread"))
        }
        TryLockError::Poisoned(_) => {
            CError::new(Status::Internal, format!("an earlier call met a defect: free this {name}"))
        }
    })
}

/// Where C wants a handle: null, or the address of a variable that may hold anything.
#[repr(transparent)]
pub struct Out<T>(*mut *mut T);

impl<T> Out<T> {
    /// Sets the variable to null, before anything can fail.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] if there is no variable.
    pub fn required(self, name: &str) -> Result<Self, CError> {
        self.clear();
        if self.0.is_null() { Err(CError::null(name)) } else { Ok(self) }
    }

    /// Sets the variable to null, if there is one.
    pub fn clear(&self) {
        self.write(ptr::null_mut());
    }

    /// Gives `value` to C, if there is a variable.
    pub fn put(self, value: T) {
        if self.0.is_null() {
            return;
        }
        let handle = Box::into_raw(Box::new(value));
        live::add(handle);
        self.write(handle);
    }

    fn write(&self, handle: *mut T) {
        if !self.0.is_null() {
            // SAFETY: C promises a variable that can be written.
            unsafe { self.0.write(handle) };
        }
    }
}

/// Where C wants a number: null, or the address of a variable.
#[repr(transparent)]
pub struct NumberOut<T>(*mut T);

impl<T> NumberOut<T> {
    /// Writes `number`.
    ///
    /// # Errors
    /// [`Status::InvalidArgument`] if there is no variable.
    pub fn put(self, number: T, name: &str) -> Result<(), CError> {
        if self.0.is_null() {
            return Err(CError::null(name));
        }
        // SAFETY: not null, and C promises a variable that can be written.
        unsafe { self.0.write(number) };
        Ok(())
    }
}

/// The handles that live, by address and type.
#[cfg(debug_assertions)]
mod live {
    use core::any::type_name;
    use std::collections::BTreeSet;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    static HANDLES: Mutex<BTreeSet<(usize, &str)>> = Mutex::new(BTreeSet::new());

    fn handles() -> MutexGuard<'static, BTreeSet<(usize, &'static str)>> {
        HANDLES.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add<T>(handle: *const T) {
        handles().insert((handle.addr(), type_name::<T>()));
    }

    pub fn has<T>(handle: *const T) -> bool {
        handles().contains(&(handle.addr(), type_name::<T>()))
    }

    pub fn remove<T>(handle: *const T) -> bool {
        handles().remove(&(handle.addr(), type_name::<T>()))
    }
}

/// Release builds take C at its word.
#[cfg(not(debug_assertions))]
mod live {
    pub fn add<T>(_: *const T) {}

    pub fn has<T>(_: *const T) -> bool {
        true
    }

    pub fn remove<T>(_: *const T) -> bool {
        true
    }
}

/// What C does, for tests.
#[cfg(test)]
impl<T> Out<T> {
    pub fn to(variable: &mut *mut T) -> Self {
        Self(variable)
    }

    pub fn to_nothing() -> Self {
        Self(ptr::null_mut())
    }
}

#[cfg(test)]
impl<T> Owned<T> {
    pub fn from(handle: *mut T) -> Self {
        Self(handle)
    }

    pub fn borrow(&self) -> Borrowed<T> {
        Borrowed(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_and_what_does_not_live_are_errors() {
        let mut handle = ptr::null_mut();
        Out::to(&mut handle).put(7u32);
        assert_eq!(Borrowed(handle).get("number").ok(), Some(&7));
        Owned(handle).free();
        let status = |handle: *const u32| Borrowed(handle).get("number").err().map(|e| e.status());
        assert_eq!(status(ptr::null()), Some(Status::InvalidArgument));
        if cfg!(debug_assertions) {
            assert_eq!(status(handle), Some(Status::InvalidArgument));
            Owned(handle).free();
        }
    }

    #[test]
    fn a_variable_is_null_until_there_is_a_handle() {
        let mut handle = ptr::dangling_mut::<u32>();
        assert!(Out::to(&mut handle).required("number").is_ok());
        assert!(handle.is_null());
        assert!(Out::<u32>::to_nothing().required("number").is_err());
        Out::to_nothing().put(7u32);
    }
}
