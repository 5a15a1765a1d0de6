//! Does the same with each of many objects, on all cores, some at a time.

use std::{
    future::Future,
    num::NonZero,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{StreamExt as _, stream};
use tokio::task::JoinSet;

use super::{AT_ONCE, MoveError};

/// One task does so many at most.
const SHARE: usize = 8;
/// So many are computed at once.
const PART: usize = 256;

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
    let failed = Arc::new(AtomicBool::new(false));
    loop {
        while outcome.is_ok() && running.len() < AT_ONCE {
            let share = share(rest.size_hint().0);
            let some: Vec<F> = rest.by_ref().take(share).map(&work).collect();
            if some.is_empty() {
                break;
            }
            running.spawn(one_by_one(some, Arc::clone(&failed)));
        }
        let Some(ended) = running.join_next().await else {
            return outcome;
        };
        let (done, ended) = ended.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
        outcome = done
            .into_iter()
            .fold(outcome, |outcome, one| outcome.and(hear(one)))
            .and(ended);
        if outcome.is_err() {
            failed.store(true, Ordering::Relaxed);
        }
    }
}

/// How many of what is left one task takes: whoever waits for all of them is not woken for each, and in the end all tasks have something to do.
fn share(left: usize) -> usize {
    (left / (2 * AT_ONCE)).clamp(1, SHARE)
}

/// Does some things one after the other, until something has failed here or elsewhere. Returns what came of those that are done.
async fn one_by_one<R, F: Future<Output = Result<R, MoveError>>>(
    some: Vec<F>,
    failed: Arc<AtomicBool>,
) -> (Vec<R>, Result<(), MoveError>) {
    let mut done = Vec::with_capacity(some.len());
    for one in some {
        if failed.load(Ordering::Relaxed) {
            break;
        }
        match one.await {
            Ok(result) => done.push(result),
            Err(error) => {
                failed.store(true, Ordering::Relaxed);
                return (done, Err(error));
            }
        }
    }
    (done, Ok(()))
}

/// Computes on a thread of its own: what takes long must not keep others from their turn, a Lease that is to be renewed least of all.
pub(super) async fn apart<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))
}

/// Computes something of many, [`PART`] at a time, on all cores; `work` is given their numbers. What came of it is in their order.
pub(super) async fn in_parts<R: Send + 'static>(
    count: usize,
    work: impl Fn(Range<usize>) -> Vec<R> + Send + Sync + 'static,
) -> Vec<R> {
    let work = Arc::new(work);
    let parts = stream::iter((0..count).step_by(PART)).map(|start| {
        let work = Arc::clone(&work);
        apart(move || work(start..count.min(start + PART)))
    });
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    parts.buffered(cores).concat().await
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// What was heard of `count` things of which `fails` fails, and what it came to.
    async fn of(count: usize, fails: usize) -> (Vec<usize>, usize, Result<(), MoveError>) {
        let (begun, mut heard) = (Arc::new(Mutex::new(0)), Vec::new());
        let work = |n: usize| {
            let begun = Arc::clone(&begun);
            async move {
                *begun.lock().unwrap() += 1;
                tokio::task::yield_now().await;
                if n == fails {
                    Err(MoveError::Interrupted)
                } else {
                    Ok(n)
                }
            }
        };
        let outcome = each(0..count, work, |n| {
            heard.push(n);
            Ok(())
        })
        .await;
        heard.sort_unstable();
        let begun = *begun.lock().unwrap();
        (heard, begun, outcome)
    }

    #[tokio::test]
    async fn all_are_done_and_heard_of_once() {
        for count in [0, 1, AT_ONCE, 5_000] {
            let (heard, begun, outcome) = of(count, usize::MAX).await;
            assert_eq!((heard, begun), ((0..count).collect(), count));
            assert!(outcome.is_ok());
        }
    }

    #[tokio::test]
    async fn nothing_is_begun_after_a_failure_and_what_is_done_is_heard_of() {
        let (heard, begun, outcome) = of(5_000, 700).await;
        assert!(matches!(outcome, Err(MoveError::Interrupted)));
        assert_eq!(heard.len() + 1, begun);
        assert!(begun < 700 + AT_ONCE * SHARE, "{begun}");
    }

    #[tokio::test]
    async fn parts_are_computed_in_their_order() {
        for count in [0, 1, PART, 1_000] {
            let found = in_parts(count, |part| part.map(|n| n * 2).collect()).await;
            assert_eq!(found, (0..count).map(|n| n * 2).collect::<Vec<_>>());
        }
    }
}
