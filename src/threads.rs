//! A fork-join pool for the parts of one computation.
//!
//! A part is work that no other part touches, so results do not depend on how many threads there are. Without the
//! feature `std`, and with one thread, the parts run one after the other on the caller.

#![cfg_attr(feature = "std", allow(unsafe_code))]

/// The most threads a pool can have.
pub const MAX_THREADS: usize = 64;

/// Measured: 160 and 134 on 64-bit Linux.
const SHARED_BYTES: usize = 192;
const WORKER_BYTES: usize = 160;

/// Worker threads that wait for parts of a computation.
pub struct Pool {
    #[cfg(feature = "std")]
    workers: Option<workers::Workers>,
}

impl Pool {
    /// A pool in which `threads` threads work, the caller of [`each`](Self::each) among them: at least 1, at most
    /// [`MAX_THREADS`]; 1 without the feature `std`.
    pub fn new(threads: usize) -> Self {
        #[cfg(feature = "std")]
        return Self { workers: (threads > 1).then(|| workers::Workers::new(threads.min(MAX_THREADS) - 1)) };
        #[cfg(not(feature = "std"))]
        {
            let _ = threads;
            Self {}
        }
    }

    /// Bytes that a pool in an `Arc` allocates, at most: itself, what the workers share, and for each of them its handle,
    /// its name and the standard library's own notes. A worker's stack is the system's.
    pub fn plan(threads: usize) -> usize {
        let pool = size_of::<Self>() + 2 * size_of::<usize>();
        match threads.min(MAX_THREADS) {
            threads @ 2.. if cfg!(feature = "std") => pool + SHARED_BYTES + WORKER_BYTES * (threads - 1),
            _ => pool,
        }
    }

    /// Number of threads among which a call of [`each`](Self::each) would share its parts: the caller and the workers,
    /// or the caller alone while the pool is busy.
    pub fn threads(&self) -> usize {
        #[cfg(feature = "std")]
        if let Some(workers) = &self.workers {
            return workers.available() + 1;
        }
        1
    }

    /// Calls `work` once with every part, on any thread and in any order; returns when all parts are done.
    ///
    /// A pool that is busy with another call runs the parts on the caller alone: so the parts of large pieces of work
    /// may share the pool that shares the small ones where there is only one large piece.
    ///
    /// # Panics
    /// If `work` panics on any thread.
    pub fn each<T: Send>(&self, parts: &mut [T], work: impl Fn(&mut T) + Sync) {
        #[cfg(feature = "std")]
        if let Some(workers) = &self.workers
            && parts.len() > 1
        {
            return workers.each(parts, work);
        }
        parts.iter_mut().for_each(work);
    }
}

#[cfg(feature = "std")]
mod workers {
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
    use std::thread::JoinHandle;

    /// Rounds that an idle worker spins before it sleeps: some tens of microseconds, more than the serial stretch
    /// between two products of a decoding step.
    const SPINS: u32 = 4_000;

    pub struct Workers {
        shared: Arc<Shared>,
        threads: Vec<JoinHandle<()>>,
        /// Held during a call of `each`.
        busy: Mutex<()>,
    }

    struct Shared {
        /// Counts the published jobs; a spinning worker watches it without the lock.
        published: AtomicU64,
        state: Mutex<State>,
        wake: Condvar,
        done: Condvar,
    }

    struct State {
        /// The job that workers may join.
        open: Option<&'static Job<'static>>,
        /// Workers that have started.
        started: usize,
        /// Workers inside the job.
        running: usize,
        stop: bool,
    }

    struct Job<'a> {
        call: &'a (dyn Fn(usize) + Sync),
        parts: usize,
        next: AtomicUsize,
        panicked: AtomicBool,
    }

    impl Job<'_> {
        fn work(&self) {
            loop {
                let part = self.next.fetch_add(1, Ordering::Relaxed);
                if part >= self.parts {
                    return;
                }
                (self.call)(part);
            }
        }
    }

    struct Parts<T>(*mut T);
    // SAFETY: the pointer is only used to reach each part once, from one thread at a time, and parts are `Send`.
    unsafe impl<T: Send> Sync for Parts<T> {}
    impl<T> Parts<T> {
        fn get(&self, part: usize) -> *mut T {
            self.0.wrapping_add(part)
        }
    }

    impl Shared {
        fn lock(&self) -> MutexGuard<'_, State> {
            self.state.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// Waits until the workers have brought about that `done` holds.
        fn wait_until(&self, done: impl Fn(&State) -> bool) {
            let mut state = self.lock();
            while !done(&state) {
                state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }

        /// Changes the state and wakes the workers. The count changes under the lock, so that no worker falls asleep
        /// between its look at the count and its wait.
        fn publish(&self, change: impl FnOnce(&mut State)) {
            let mut state = self.lock();
            change(&mut state);
            self.published.fetch_add(1, Ordering::Release);
            drop(state);
            self.wake.notify_all();
        }
    }

    impl Workers {
        pub fn new(count: usize) -> Self {
            let shared = Arc::new(Shared {
                published: AtomicU64::new(0),
                state: Mutex::new(State { open: None, started: 0, running: 0, stop: false }),
                wake: Condvar::new(),
                done: Condvar::new(),
            });
            let start = |_| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new().name("siskin-worker".into()).spawn(move || shared.serve()).ok()
            };
            let threads: Vec<_> = (0..count).map_while(start).collect();
            // A thread allocates while it starts: afterwards none of them does.
            shared.wait_until(|state| state.started == threads.len());
            Self { shared, threads, busy: Mutex::new(()) }
        }

        /// Workers that could join a job.
        pub fn available(&self) -> usize {
            self.claim().map_or(0, |_| self.threads.len())
        }

        /// The right to publish a job: one call has it at a time.
        fn claim(&self) -> Option<MutexGuard<'_, ()>> {
            match self.busy.try_lock() {
                Ok(claim) => Some(claim),
                Err(TryLockError::Poisoned(claim)) => Some(claim.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            }
        }

        pub fn each<T: Send>(&self, parts: &mut [T], work: impl Fn(&mut T) + Sync) {
            let Some(_claim) = self.claim() else {
                return parts.iter_mut().for_each(work);
            };
            let first = Parts(parts.as_mut_ptr());
            // SAFETY: `Job::next` gives every index below `parts.len()` to one caller once.
            let call = |part: usize| work(unsafe { &mut *first.get(part) });
            let (next, panicked) = (AtomicUsize::new(0), AtomicBool::new(false));
            let job = Job { call: &call, parts: parts.len(), next, panicked };
            // SAFETY: `Open` is dropped before `job`, also when `work` panics, and its drop closes the job and waits
            // until no worker is inside: no worker uses the reference after that.
            let job: &'static Job<'static> = unsafe { core::mem::transmute::<&Job<'_>, _>(&job) };
            let open = Open::publish(&self.shared, job);
            job.work();
            drop(open);
            assert!(!job.panicked.load(Ordering::Relaxed), "a part of a parallel computation panicked");
        }
    }

    impl Drop for Workers {
        fn drop(&mut self) {
            self.shared.publish(|state| state.stop = true);
            for thread in self.threads.drain(..) {
                let _ = thread.join();
            }
        }
    }

    /// A published job; its drop takes it back and waits for the workers inside.
    struct Open<'a>(&'a Shared);

    impl<'a> Open<'a> {
        fn publish(shared: &'a Shared, job: &'static Job<'static>) -> Self {
            shared.publish(|state| state.open = Some(job));
            Self(shared)
        }
    }

    impl Drop for Open<'_> {
        fn drop(&mut self) {
            self.0.lock().open = None;
            self.0.wait_until(|state| state.running == 0);
        }
    }

    impl Shared {
        fn serve(&self) {
            self.lock().started += 1;
            self.done.notify_one();
            let mut seen = 0;
            loop {
                for _ in 0..SPINS {
                    if self.published.load(Ordering::Acquire) != seen {
                        break;
                    }
                    core::hint::spin_loop();
                }
                let mut state = self.lock();
                while self.published.load(Ordering::Acquire) == seen {
                    state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                seen = self.published.load(Ordering::Acquire);
                if state.stop {
                    return;
                }
                let Some(job) = state.open else { continue };
                state.running += 1;
                drop(state);
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| job.work())).is_err() {
                    job.panicked.store(true, Ordering::Relaxed);
                }
                let mut state = self.lock();
                state.running -= 1;
                if state.running == 0 {
                    self.done.notify_one();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_runs_once() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads);
            for count in [0usize, 1, 2, 3, 17, 100] {
                let mut parts: alloc::vec::Vec<usize> = (0..count).collect();
                for round in 0..50 {
                    pool.each(&mut parts, |part| *part += 1);
                    assert!(parts.iter().enumerate().all(|(i, &part)| part == i + round + 1));
                }
            }
        }
    }

    #[test]
    fn a_busy_pool_still_answers() {
        let pool = Pool::new(3);
        let mut outer = [[0usize; 4]; 6];
        pool.each(&mut outer, |inner| pool.each(inner, |x| *x += pool.threads()));
        assert_eq!(outer, [[1; 4]; 6]);
        assert_eq!(pool.threads(), if cfg!(feature = "std") { 3 } else { 1 });
    }

    #[cfg(feature = "std")]
    #[test]
    fn a_panic_in_a_part_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(2);
        let run = |bad: usize| {
            let mut parts: Vec<usize> = (0..8).collect();
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                pool.each(&mut parts, |&mut part| assert_ne!(part, bad));
            }))
        };
        assert!(run(3).is_err());
        assert!(run(99).is_ok());
        assert_eq!(pool.threads(), 2);
    }
}
