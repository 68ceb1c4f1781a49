use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    body::Bytes,
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
};
use kube::core::Status;
use rstest::rstest;
use tokio::time::sleep;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[rstest]
#[case::released(None, 0, Some(Decision::Acquire))]
#[case::released_by_client_go(Some(""), 0, Some(Decision::Acquire))]
#[case::mine(Some("me"), 0, Some(Decision::Renew))]
#[case::mine_and_old_but_nobody_took_it(Some("me"), 60, Some(Decision::Renew))]
#[case::foreign_and_fresh(Some("other"), 14, None)]
#[case::foreign_and_silent(Some("other"), 15, Some(Decision::Acquire))]
fn who_does_what(
    #[case] holder: Option<&str>,
    #[case] unchanged_for_seconds: u32,
    #[case] expected: Option<Decision>,
) {
    let since = Instant::now();
    let observed = Observed {
        holder: holder.map(str::to_owned),
        duration: 15 * SECOND,
        unchanged_since: since,
    };
    let follow = Decision::Follow {
        until: since + 15 * SECOND,
    };
    let decision = decide(since + unchanged_for_seconds * SECOND, Some(&observed), "me");
    assert_eq!(decision, expected.unwrap_or(follow));
}

#[test]
fn a_lease_that_does_not_exist_is_free() {
    assert_eq!(decide(Instant::now(), None, "me"), Decision::Acquire);
}

/// Whether a candidate leads, as far as it knows.
fn leads(candidate: &Leadership) -> bool {
    *candidate.state.borrow() == State::Leading
}

/// The Lease endpoint of an API server, with its optimistic concurrency.
#[derive(Clone, Default)]
struct FakeServer {
    lease: Arc<Mutex<Option<Lease>>>,
}

/// The way from one candidate to the server.
#[derive(Clone, Copy, Debug)]
enum Link {
    Works,
    /// Every answer is a 500; writes still arrive, as with a proxy that loses responses.
    LosesAnswers,
    /// Nothing arrives and nothing is answered.
    Hangs,
}

impl FakeServer {
    fn candidate(&self, identity: &str) -> (Leadership, Arc<Mutex<Link>>) {
        let link = Arc::new(Mutex::new(Link::Works));
        let (server, way) = (self.clone(), link.clone());
        let router = Router::new().fallback(async move |method: Method, body: Bytes| {
            let link = *way.lock().unwrap();
            match link {
                Link::Works => server.answer(&method, &body),
                Link::LosesAnswers => {
                    server.answer(&method, &body);
                    failure(500)
                }
                Link::Hangs => std::future::pending().await,
            }
        });
        (
            lead(Client::new(router, "ns"), LeaseConfig::new("ns", "op", identity)),
            link,
        )
    }

    fn answer(&self, method: &Method, body: &[u8]) -> Response {
        let mut stored = self.lease.lock().unwrap();
        if *method == Method::GET {
            return stored
                .as_ref()
                .map_or_else(|| failure(404), |lease| Json(lease).into_response());
        }
        let mut new: Lease = serde_json::from_slice(body).unwrap();
        let version = stored.as_ref().and_then(ResourceExt::resource_version);
        if (*method == Method::POST) == stored.is_some() || new.resource_version() != version {
            return failure(409);
        }
        let next = version.map_or(1, |version| version.parse::<u64>().unwrap() + 1);
        new.metadata.resource_version = Some(next.to_string());
        *stored = Some(new.clone());
        Json(new).into_response()
    }

    fn spec(&self) -> LeaseSpec {
        self.lease.lock().unwrap().clone().unwrap().spec.unwrap()
    }
}

fn failure(code: u16) -> Response {
    // Servers send the reason, and kube 5.0.0 needs it: its `is_not_found` does not fall back to the code.
    let reason = if code == 404 { "NotFound" } else { "" };
    let status = Status::failure("made up", reason).with_code(code);
    (StatusCode::from_u16(code).unwrap(), Json(status)).into_response()
}

#[tokio::test(start_paused = true)]
async fn of_two_one_leads_and_hands_over_at_once() {
    let server = FakeServer::default();
    let (first, _) = server.candidate("first");
    first.gained().await;
    let (second, _) = server.candidate("second");
    sleep(120 * SECOND).await;
    assert!(leads(&first) && !leads(&second), "a renewing leader stays");

    let released = Instant::now();
    first.release().await;
    second.gained().await;
    assert!(released.elapsed() <= 2 * SECOND, "took {:?}", released.elapsed());
    assert_eq!(server.spec().holder_identity.as_deref(), Some("second"));
    assert_eq!(server.spec().lease_transitions, Some(1));
}

#[tokio::test(start_paused = true)]
async fn candidates_that_start_together_never_both_lead() {
    let server = FakeServer::default();
    let candidates: Vec<_> = (0..5).map(|n| server.candidate(&format!("c{n}")).0).collect();
    let leaders = || candidates.iter().filter(|candidate| leads(candidate)).count();
    for _ in 0..300 {
        sleep(SECOND / 10).await;
        assert!(leaders() <= 1);
    }
    assert_eq!(leaders(), 1);
}

#[rstest]
#[case(Link::LosesAnswers)]
#[case(Link::Hangs)]
#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_stops_before_another_starts(#[case] trouble: Link) {
    let server = FakeServer::default();
    let (first, link) = server.candidate("first");
    first.gained().await;
    let (second, _) = server.candidate("second");
    sleep(7 * SECOND).await;

    *link.lock().unwrap() = trouble;
    let cut_off = Instant::now();
    first.lost().await;
    assert!(cut_off.elapsed() <= 10 * SECOND, "took {:?}", cut_off.elapsed());
    assert!(!leads(&first) && !leads(&second));
    second.gained().await;
    assert!(cut_off.elapsed() > 12 * SECOND, "took {:?}", cut_off.elapsed());

    *link.lock().unwrap() = Link::Works;
    sleep(60 * SECOND).await;
    assert!(!leads(&first) && leads(&second), "lost is lost");
}

#[rstest]
#[case(Link::LosesAnswers)]
#[case(Link::Hangs)]
#[tokio::test(start_paused = true)]
async fn a_short_outage_changes_nothing(#[case] trouble: Link) {
    let server = FakeServer::default();
    let (leader, link) = server.candidate("me");
    leader.gained().await;
    sleep(SECOND).await;
    *link.lock().unwrap() = trouble;
    sleep(4 * SECOND).await;
    *link.lock().unwrap() = Link::Works;
    sleep(30 * SECOND).await;
    assert_eq!(server.spec().lease_transitions, Some(0));
    // A request that hangs is not repeated: its deadline is the deadline of leadership.
    assert_eq!(leads(&leader), matches!(trouble, Link::LosesAnswers));
}

#[tokio::test(start_paused = true)]
async fn a_lease_taken_away_ends_leadership() {
    let server = FakeServer::default();
    let (leader, _) = server.candidate("me");
    leader.gained().await;
    if let Some(lease) = server.lease.lock().unwrap().as_mut() {
        lease.metadata.resource_version = Some("77".into());
        lease.spec = Some(LeaseSpec {
            holder_identity: Some("usurper".into()),
            ..LeaseSpec::default()
        });
    }
    let taken = Instant::now();
    leader.lost().await;
    assert!(taken.elapsed() <= 5 * SECOND, "took {:?}", taken.elapsed());
    assert_eq!(
        server.spec().holder_identity.as_deref(),
        Some("usurper"),
        "not written over"
    );
}
