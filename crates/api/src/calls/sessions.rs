//! The sessions that this server keeps.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hyper::{Response, header};
use schemars::JsonSchema;
use serde::Serialize;
use stockade_supervisor::TaskDirectory;
use stockade_types::TaskId;

use super::session::{NewSession, Running, Session};
use crate::http::{Body, Kind, Problem, set};

/// How many sessions of one sandbox are kept, those that are over included.
const SESSIONS_MAX: usize = 32;

/// The sessions of a sandbox.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Sessions {
    /// The oldest first.
    sessions: Vec<Session>,
}

/// By the sandbox in which they are, the oldest first.
#[derive(Default)]
pub(super) struct Table(Mutex<HashMap<TaskId, Vec<Arc<Running>>>>);

impl Table {
    pub(super) async fn open(
        &self,
        task: &TaskDirectory,
        wanted: NewSession,
        no_policy: bool,
    ) -> Result<Response<Body>, Problem> {
        self.make_room(task.id())?;
        let session = Arc::new(Running::open(task, wanted, no_policy).await?);
        self.lock()
            .entry(task.id().clone())
            .or_default()
            .push(Arc::clone(&session));
        let mut response = session.opened().await;
        let place = format!(
            "/v1/sandboxes/{}/sessions/{}",
            task.id(),
            session.exec_number()
        );
        set(&mut response, header::LOCATION, &place);
        Ok(response)
    }

    pub(super) async fn list(&self, task: &TaskId) -> Sessions {
        let mut sessions = Vec::new();
        for session in self.of(task) {
            sessions.push(session.show().await);
        }
        Sessions { sessions }
    }

    pub(super) fn find(&self, task: &TaskId, number: u32) -> Result<Arc<Running>, Problem> {
        let mut sessions = self.of(task).into_iter();
        sessions
            .find(|session| session.exec_number() == number)
            .ok_or_else(|| {
                let detail = format!("the sandbox has no session {number} of this server");
                Problem::new(Kind::NotFound, detail)
                    .fix("GET /v1/sandboxes/{sandbox}/sessions lists them")
            })
    }

    pub(super) fn remove(&self, task: &TaskId, session: &Arc<Running>) {
        if let Some(sessions) = self.lock().get_mut(task) {
            sessions.retain(|known| !Arc::ptr_eq(known, session));
        }
    }

    /// Lets go of all sessions of a sandbox that is to end.
    pub(super) fn forget(&self, task: &TaskId) {
        self.lock().remove(task);
    }

    /// Lets go of the oldest session that is over, if there are too many, and
    /// of other sandboxes all of whose sessions are.
    fn make_room(&self, task: &TaskId) -> Result<(), Problem> {
        let mut table = self.lock();
        table.retain(|known, sessions| {
            known == task || !sessions.iter().all(|session| session.is_over())
        });
        let Some(sessions) = table.get_mut(task) else {
            return Ok(());
        };
        if sessions.len() < SESSIONS_MAX {
            return Ok(());
        }
        let Some(over) = sessions.iter().position(|session| session.is_over()) else {
            let detail = format!("the sandbox has {SESSIONS_MAX} sessions already");
            return Err(Problem::busy(detail).fix("DELETE one that is not needed"));
        };
        sessions.remove(over);
        Ok(())
    }

    fn of(&self, task: &TaskId) -> Vec<Arc<Running>> {
        self.lock().get(task).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TaskId, Vec<Arc<Running>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
