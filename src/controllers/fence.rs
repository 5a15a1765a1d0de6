//! The fence around a cluster whose objects move: while it stands no controllers act there, whoever starts them. It decides nothing.
//!
//! It is an annotation of the Lease that every run of the controllers holds, so it outlives the process that raised it. The holder
//! notices it at once, finishes what it does and gives the Lease back; only the move that raised the fence can hold the Lease then.

use futures::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, Client, ResourceExt,
    runtime::{WatchStreamExt as _, watcher},
};

use super::lease::{NAME, NAMESPACE};

/// Annotation on the Lease of the controllers: the move that raised the fence.
pub(crate) const FENCE: &str = "machinectl.crit.sh/fenced-by";

/// Which move has raised the fence, if one has.
pub(crate) fn of(lease: &Lease) -> Option<String> {
    lease
        .annotations()
        .get(FENCE)
        .filter(|id| !id.is_empty())
        .cloned()
}

/// Marks a Lease.
pub(super) fn raise(lease: &mut Lease, id: &str) {
    lease.annotations_mut().insert(FENCE.to_owned(), id.to_owned());
}

/// Takes the mark away.
pub(super) fn lower(lease: &mut Lease) {
    lease.annotations_mut().remove(FENCE);
}

/// Which move has raised the fence of a cluster, if one has.
///
/// # Errors
/// Fails when the API server can't be asked.
pub async fn raised(client: &Client) -> Result<Option<String>, kube::Error> {
    let lease = Api::<Lease>::namespaced(client.clone(), NAMESPACE)
        .get_opt(NAME)
        .await?;
    Ok(lease.as_ref().and_then(of))
}

/// Returns when somebody raises the fence.
pub(super) async fn until_raised(client: &Client) -> String {
    let api: Api<Lease> = Api::namespaced(client.clone(), NAMESPACE);
    let config = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    // A watch that breaks begins anew; between two of them each renewal of the Lease brings the fence to light.
    let mut events = std::pin::pin!(watcher::watcher(api, config).default_backoff());
    loop {
        match events.next().await {
            Some(Ok(watcher::Event::Apply(lease) | watcher::Event::InitApply(lease))) => {
                if let Some(id) = of(&lease) {
                    return id;
                }
            }
            Some(_) => {}
            None => std::future::pending().await,
        }
    }
}
