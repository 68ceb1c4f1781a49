//! What the operators rely on in an API server, as named behaviours.
//!
//! The same list is checked against the server of the simulator and against a real kube-apiserver with etcd and the
//! controllers that belong to it: what the simulator says is worth as much as it agrees with the real one.

pub mod alike;
mod apply;
mod clusters;
mod collect;
mod delete;
mod kinds;
mod objects;
mod owners;
pub mod real;
mod specs;
mod stage;
mod update;
mod watch;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream;

pub use stage::{Failure, Stage};

/// How a behaviour was found.
pub type Outcome = Result<(), Failure>;

/// Something that an API server does.
pub struct Behaviour {
    /// What it does, as a sentence.
    pub name: &'static str,
    /// Checks that it does it.
    pub check: fn(Stage) -> BoxFuture<'static, Outcome>,
    /// Whether it disturbs others: it is checked when they are through.
    pub alone: bool,
}

/// A list of behaviours: each is an async function, and its name is what it finds.
macro_rules! behaviours {
    ($($(#[$alone:ident])? $name:ident),* $(,)?) => {
        /// The behaviours of this module.
        pub(super) const BEHAVIOURS: &[super::Behaviour] = &[$(
            super::Behaviour {
                name: stringify!($name),
                check: |stage| Box::pin(async move { $name(&stage).await }),
                alone: behaviours!(@alone $($alone)?),
            }
        ),*];
    };
    (@alone alone) => { true };
    (@alone) => { false };
}
use behaviours;

/// Every behaviour.
pub fn all() -> impl Iterator<Item = &'static Behaviour> {
    [
        objects::BEHAVIOURS,
        update::BEHAVIOURS,
        apply::BEHAVIOURS,
        owners::BEHAVIOURS,
        watch::BEHAVIOURS,
        delete::BEHAVIOURS,
        collect::BEHAVIOURS,
        kinds::BEHAVIOURS,
        clusters::BEHAVIOURS,
    ]
    .into_iter()
    .flatten()
}

/// Checks all behaviours: the names of those that were found, and what was found instead of the others.
pub async fn check(stage: &Stage) -> (Vec<&'static str>, Vec<(&'static str, Failure)>) {
    let (alone, together): (Vec<&Behaviour>, Vec<&Behaviour>) = all().partition(|it| it.alone);
    let run = |behaviour: &'static Behaviour| async move {
        let outcome = match stage.of(behaviour.name).await {
            Ok(stage) => (behaviour.check)(stage).await,
            Err(failure) => Err(failure),
        };
        (behaviour.name, outcome)
    };
    let together = stream::iter(together)
        .map(run)
        .buffer_unordered(8)
        .collect::<Vec<_>>()
        .await;
    let alone = stream::iter(alone).then(run).collect::<Vec<_>>().await;
    let (mut kept, mut broken) = (Vec::new(), Vec::new());
    for (name, outcome) in together.into_iter().chain(alone) {
        match outcome {
            Ok(()) => kept.push(name),
            Err(failure) => broken.push((name, failure)),
        }
    }
    (kept, broken)
}
