//! Every request ends. One that hangs for ever would stop its object for ever: of each object one reconcile runs at a time.

use std::time::Duration;

/// Longest wait for an API server's answer to one request, its retries included.
pub const REQUEST: Duration = Duration::from_secs(30);

/// What `request` gives, or a failure of class `Transient` when that takes longer than `deadline`. Whether it did
/// something is unknown then: read before writing again.
pub async fn within<T>(
    deadline: Duration,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, kube::Error> {
    tokio::time::timeout(deadline, request)
        .await
        .unwrap_or_else(|_| Err(kube::Error::Service(Box::new(NoAnswer(deadline)))))
}

#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s", .0.as_secs())]
struct NoAnswer(Duration);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorClass, classify};

    #[tokio::test(start_paused = true)]
    async fn a_request_that_hangs_is_a_transient_failure() {
        let hanging = std::future::pending::<Result<(), kube::Error>>();
        let error = within(REQUEST, hanging).await.unwrap_err();
        assert_eq!(classify(&error), ErrorClass::Transient);
        assert!(error.to_string().contains("no answer within 30 s"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_time_is_the_answer() {
        let slow = async {
            tokio::time::sleep(REQUEST / 2).await;
            Ok(7)
        };
        assert_eq!(within(REQUEST, slow).await.unwrap(), 7);
    }
}
