//! The fetches under way. Each ends with a result under its name, whatever becomes of its task: one that was forgotten
//! would take its origin's place for ever, and keep its URL from being asked for again.

use super::answer::Got;
use super::asking::{FetchError, FetchId};
use std::collections::HashMap;
use tokio::task::{Id, JoinSet};

/// See the module's documentation. Those that are under way when it is dropped end there.
#[derive(Default)]
pub struct Fetches {
    tasks: JoinSet<Result<Got, FetchError>>,
    names: HashMap<Id, FetchId>,
}

impl Fetches {
    /// Lets `fetch` run under the name `id`.
    pub fn spawn(
        &mut self,
        id: FetchId,
        fetch: impl Future<Output = Result<Got, FetchError>> + Send + 'static,
    ) {
        let task = self.tasks.spawn(fetch);
        self.names.insert(task.id(), id);
    }

    /// The next one that ends; `None`: there are none. To be called again after it was dropped half-way.
    pub async fn next(&mut self) -> Option<(FetchId, Result<Got, FetchError>)> {
        loop {
            let (task, result) = match self.tasks.join_next_with_id().await? {
                Ok(done) => done,
                Err(error) => {
                    log::error!("a fetch failed: {error}");
                    (error.id(), Err(FetchError::Panicked))
                }
            };
            // All that was spawned has a name.
            if let Some(id) = self.names.remove(&task) {
                return Some((id, result));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetch_that_panics_ends_under_its_name() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let (first, second) = (FetchId(1), FetchId(2));
        let mut ended = runtime.block_on(async {
            let mut fetches = Fetches::default();
            fetches.spawn(first, async { panic!("as a fault of a library would") });
            fetches.spawn(second, async { Err(FetchError::TooLarge) });
            let mut ended = Vec::new();
            while let Some((id, result)) = fetches.next().await {
                ended.push((id, result.expect_err("neither brings anything")));
            }
            assert_eq!(fetches.names.len(), 0);
            ended
        });
        ended.sort_by_key(|(id, _)| *id);
        assert_eq!(
            ended,
            [
                (first, FetchError::Panicked),
                (second, FetchError::TooLarge)
            ]
        );
    }
}
