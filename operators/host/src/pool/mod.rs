//! A bounded number of sessions, shared out fairly. The choice is made in `schedule`; this waits for it.

mod schedule;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

pub use schedule::Limits;
use schedule::{Next, Scheduler, Slow, Ticket};

/// A connection that takes longer leaves its place to others.
const SLOW: Duration = Duration::from_secs(2);

/// Gives out places for sessions.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    origin: Instant,
    state: Mutex<State>,
}

struct State {
    scheduler: Scheduler,
    waiting: HashMap<Ticket, oneshot::Sender<()>>,
    /// Somebody is told to look again when the next start is due.
    alarm: bool,
}

impl Pool {
    /// All places are free.
    pub fn new(limits: Limits) -> Self {
        let state = State {
            scheduler: Scheduler::new(limits),
            waiting: HashMap::new(),
            alarm: false,
        };
        Self {
            shared: Arc::new(Shared {
                origin: Instant::now(),
                state: Mutex::new(state),
            }),
        }
    }

    /// Waits for a place. `host` names the host among those that failed before; `jump` is the first jump host.
    pub async fn acquire(&self, host: &str, idc: &str, jump: Option<&str>) -> Permit {
        let (call, called) = oneshot::channel();
        let ticket = self.shared.with(|state| {
            let ticket = state.scheduler.enter(host, idc, jump);
            state.waiting.insert(ticket, call);
            ticket
        });
        // From here on the place is given back when we are dropped.
        let permit = Permit {
            shared: Arc::clone(&self.shared),
            ticket,
        };
        permit.wait(called).await;
        permit
    }

    /// The host is gone for good: whether it failed is no longer remembered.
    pub fn forget(&self, host: &str) {
        self.shared.with(|state| state.scheduler.forget(host));
    }
}

impl Shared {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Lets everybody start who may.
fn start_ready(shared: &Arc<Shared>) {
    let alarm_at = shared.with(|state| {
        loop {
            match state.scheduler.next(shared.origin.elapsed()) {
                Next::Start(ticket) => {
                    // One that gave up meanwhile gives its place back itself.
                    if let Some(sender) = state.waiting.remove(&ticket) {
                        let _ = sender.send(());
                    }
                }
                Next::At(at) if !state.alarm => {
                    state.alarm = true;
                    return Some(at);
                }
                Next::At(_) | Next::Nobody => return None,
            }
        }
    });
    if let Some(at) = alarm_at {
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            sleep_until(shared.origin + at).await;
            shared.with(|state| state.alarm = false);
            start_ready(&shared);
        });
    }
}

/// A place, until it is dropped.
pub struct Permit {
    shared: Arc<Shared>,
    ticket: Ticket,
}

impl Permit {
    /// Connects. An attempt that takes long, and hosts that failed, do not hold up others: where there is no room
    /// for it to take its time, it is given up and made again later.
    pub async fn connecting<T, E, F>(&mut self, connect: impl Fn() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let result = match self.first_attempt(&connect).await {
            Some(result) => result,
            None => connect().await,
        };
        let success = result.is_ok();
        self.shared
            .with(|state| state.scheduler.connected(self.ticket, success));
        start_ready(&self.shared);
        result
    }

    /// None when it was given up, and it is its turn again.
    async fn first_attempt<T>(&self, connect: impl Fn() -> T) -> Option<T::Output>
    where
        T: Future,
    {
        let mut attempt = Box::pin(connect());
        if let Ok(result) = timeout(SLOW, attempt.as_mut()).await {
            return Some(result);
        }
        let (call, called) = oneshot::channel();
        let slow = self.shared.with(|state| {
            let slow = state.scheduler.slow(self.ticket);
            if slow == Slow::WaitAgain {
                state.waiting.insert(self.ticket, call);
            }
            slow
        });
        if slow == Slow::GoOn {
            start_ready(&self.shared);
            return Some(attempt.await);
        }
        drop(attempt);
        self.wait(called).await;
        None
    }

    /// Waits until the ticket is called.
    async fn wait(&self, called: oneshot::Receiver<()>) {
        start_ready(&self.shared);
        // The other end lives as long as the ticket does.
        let _ = called.await;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.shared.with(|state| {
            state.waiting.remove(&self.ticket);
            state.scheduler.leave(self.ticket);
        });
        // Nobody waits any more when the runtime is gone.
        if tokio::runtime::Handle::try_current().is_ok() {
            start_ready(&self.shared);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn limits(sessions: usize) -> Limits {
        Limits {
            sessions,
            suspects: sessions,
            starts_per_second: 1000,
            burst: 1000,
            ..Limits::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fifth_of_hanging_hosts_does_not_slow_the_others() {
        async fn last_good(hanging: bool) -> Duration {
            let pool = Pool::new(limits(8));
            let started = Instant::now();
            let hosts = (0..200).map(|index| {
                let pool = pool.clone();
                async move {
                    let hangs = index % 5 == 0;
                    if hangs && !hanging {
                        return Duration::ZERO;
                    }
                    // Both rounds: the second knows who hung.
                    for _ in 0..2 {
                        let mut permit = pool.acquire(&format!("h{index}"), "a", None).await;
                        let connect = || async {
                            let takes = if hangs { 15_000 } else { 200 };
                            tokio::time::sleep(Duration::from_millis(takes)).await;
                            if hangs { Err(()) } else { Ok(()) }
                        };
                        if permit.connecting(connect).await.is_ok() {
                            tokio::time::sleep(Duration::from_millis(800)).await;
                        }
                    }
                    if hangs { Duration::ZERO } else { started.elapsed() }
                }
            });
            let ended = futures::future::join_all(hosts).await;
            ended.into_iter().max().unwrap_or_default()
        }
        let (alone, beside) = (last_good(false).await, last_good(true).await);
        assert_eq!(
            alone,
            Duration::from_secs(40),
            "160 hosts, twice, 8 at a time, 1 s each"
        );
        // Each of the 40 costs the others a place for 2 s, the first time only.
        assert!(beside <= alone + Duration::from_secs(12), "{beside:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_allowed_run_at_once_and_starts_are_spread() {
        let pool = Pool::new(Limits {
            starts_per_second: 10,
            burst: 1,
            ..limits(3)
        });
        let running = Arc::new(AtomicUsize::new(0));
        let started = Instant::now();
        let hosts = (0..12).map(|index| {
            let (pool, running) = (pool.clone(), Arc::clone(&running));
            async move {
                let _permit = pool.acquire(&format!("h{index}"), "a", None).await;
                let at = started.elapsed();
                assert!(running.fetch_add(1, Ordering::SeqCst) < 3);
                tokio::time::sleep(Duration::from_millis(150)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                at
            }
        });
        let mut starts = futures::future::join_all(hosts).await;
        starts.sort();
        for pair in starts.windows(2) {
            assert!(pair[1] >= pair[0] + Duration::from_millis(99), "{starts:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_gives_up_gives_the_place_back() {
        let pool = Pool::new(limits(1));
        let held = pool.acquire("a", "x", None).await;
        for _ in 0..3 {
            let waiting = timeout(Duration::from_millis(10), pool.acquire("b", "x", None)).await;
            assert!(waiting.is_err(), "there is no place");
        }
        drop(held);
        let permit = timeout(Duration::from_millis(10), pool.acquire("c", "x", None)).await;
        assert!(permit.is_ok());
    }
}
