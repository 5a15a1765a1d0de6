//! Does the same with each of many objects, on all cores, some at a time.

use std::future::Future;

use tokio::task::JoinSet;

use super::{AT_ONCE, MoveError};

/// Does `work` with each; `hear` is told what came of it, in any order. If one fails, no other is begun; what is on its way may arrive all the
/// same, so it is waited for: what was done can be undone only when nothing more comes.
///
/// # Errors
/// Fails with the first failure of `work` or of `hear`.
pub(super) async fn each<T, R, F>(
    all: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> F,
    mut hear: impl FnMut(R) -> Result<(), MoveError>,
) -> Result<(), MoveError>
where
    R: Send + 'static,
    F: Future<Output = Result<R, MoveError>> + Send + 'static,
{
    let mut running = JoinSet::new();
    let mut rest = all.into_iter();
    let mut outcome = Ok(());
    loop {
        while outcome.is_ok()
            && running.len() < AT_ONCE
            && let Some(next) = rest.next()
        {
            running.spawn(work(next));
        }
        let Some(ended) = running.join_next().await else {
            return outcome;
        };
        let ended = ended.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
        outcome = outcome.and(ended.and_then(&mut hear));
    }
}

/// Runs `work` as a task of its own, so that reading a long answer keeps nobody else waiting. It ends with whoever waits for it.
pub(super) async fn aside<R: Send + 'static>(work: impl Future<Output = R> + Send + 'static) -> R {
    let mut one = JoinSet::new();
    one.spawn(work);
    loop {
        match one.join_next().await {
            Some(Ok(result)) => return result,
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            // There is one task, and it has not been joined yet.
            None => std::future::pending().await,
        }
    }
}
