//! Sandboxes that stand ready for one command each, so that a command need
//! not wait for its walls. Another is built whenever one was taken.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use stockade_sandbox::{ExecWatch, FreshSandbox, FreshSandboxes, Isolation, SandboxError};

use super::request::ExecError;
use crate::gateway::Networks;

/// How many of a kind stand ready once one has been asked for.
const READY: usize = 8;
/// How many are built at once: one is laid out while another is looked at from outside
/// and starts up.
const BUILT_AT_ONCE: usize = 2;

/// See the module's documentation. Clones share it.
#[derive(Clone)]
pub(crate) struct FreshPool(Arc<Pool>);

struct Pool {
    builder: FreshSandboxes,
    networks: Networks,
    /// Sees what starts in them, if that is to be recorded.
    programs: Option<ExecWatch>,
    shelves: Mutex<Shelves>,
    /// One was taken, or there will be no more.
    taken: Condvar,
}

#[derive(Default)]
struct Shelves {
    /// By kind, those that somebody has asked for.
    kinds: HashMap<Isolation, Shelf>,
    filling: bool,
    closed: bool,
}

#[derive(Default)]
struct Shelf {
    standing: VecDeque<FreshSandbox>,
    /// How many are being built.
    coming: usize,
    /// Why there are no more, until somebody asks again.
    failed: Option<SandboxError>,
    /// One was built or could not be, or there will be no more.
    built: Arc<Condvar>,
}

impl FreshPool {
    pub(crate) fn new(
        builder: FreshSandboxes,
        networks: Networks,
        programs: Option<ExecWatch>,
    ) -> Self {
        Self(Arc::new(Pool {
            builder,
            networks,
            programs,
            shelves: Mutex::default(),
            taken: Condvar::new(),
        }))
    }

    /// One that nothing has run in. Waits if none stands ready.
    pub(super) fn take(&self, isolation: Isolation) -> Result<FreshSandbox, ExecError> {
        let pool = &self.0;
        let mut shelves = pool.lock();
        if !shelves.filling {
            shelves.filling = true;
            for _ in 0..BUILT_AT_ONCE {
                let pool = Arc::clone(pool);
                std::thread::spawn(move || pool.fill());
            }
        }
        loop {
            if shelves.closed {
                return Err(ExecError::Ended);
            }
            let shelf = shelves.kinds.entry(isolation).or_default();
            let (taken, failed) = (shelf.standing.pop_front(), shelf.failed.take());
            pool.taken.notify_one();
            match (taken, failed) {
                (Some(sandbox), _) => return Ok(sandbox),
                (None, Some(error)) => return Err(ExecError::Fresh(error)),
                (None, None) => {
                    let built = Arc::clone(&shelf.built);
                    shelves = wait(&built, shelves);
                }
            }
        }
    }

    /// One that nothing has run in, built now: nobody wants many of them.
    pub(crate) fn one(&self, isolation: Isolation) -> Result<FreshSandbox, SandboxError> {
        self.0.build(isolation)
    }

    /// Ends those that stand ready, and builds no more.
    pub(crate) fn close(&self) {
        let mut shelves = self.0.lock();
        shelves.closed = true;
        for (_, shelf) in shelves.kinds.drain() {
            shelf.built.notify_all();
        }
        self.0.taken.notify_all();
    }
}

impl Pool {
    /// Builds whatever is missing until the pool is closed.
    fn fill(&self) {
        let mut shelves = self.lock();
        while !shelves.closed {
            let mut kinds = shelves.kinds.iter_mut();
            let Some((isolation, shelf)) = kinds.find(|(_, shelf)| shelf.is_short()) else {
                shelves = wait(&self.taken, shelves);
                continue;
            };
            let isolation = *isolation;
            shelf.coming += 1;
            drop(shelves);
            let built = self.build(isolation);
            shelves = self.lock();
            if let Some(shelf) = shelves.kinds.get_mut(&isolation) {
                shelf.coming -= 1;
                match built {
                    Ok(sandbox) => shelf.standing.push_back(sandbox),
                    Err(error) => shelf.failed = Some(error),
                }
                shelf.built.notify_one();
            }
        }
    }

    fn build(&self, isolation: Isolation) -> Result<FreshSandbox, SandboxError> {
        let (mut sandbox, listeners) = self.builder.build(isolation)?;
        if let (Some(programs), Some(execs)) = (&self.programs, sandbox.take_execs()) {
            // One that is not watched starts nothing.
            let _ = programs.add(execs);
        }
        if let Some(listeners) = listeners {
            // Without a gateway the task ends; nothing goes out until then.
            let _ = self.networks.serve(listeners);
        }
        Ok(sandbox)
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait<'a>(condition: &Condvar, shelves: MutexGuard<'a, Shelves>) -> MutexGuard<'a, Shelves> {
    let waited = condition.wait(shelves);
    waited.unwrap_or_else(PoisonError::into_inner)
}

impl Shelf {
    /// Whether another should be built.
    fn is_short(&self) -> bool {
        self.failed.is_none() && self.standing.len() + self.coming < READY
    }
}
