//! The body of a watch on its way to the operator: its events take time, end with the process, and may be swallowed.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use tokio::time::Sleep;

use crate::call::Call;
use crate::exchange::lock;
use crate::fault::Fault;
use crate::gate::{AnswerBody, Gate};
use crate::ledger::Ledger;
use crate::process::Process;
use crate::time::Millis;

/// See the module.
pub(crate) struct Watching {
    gate: Gate,
    process: Process,
    call: Call,
    body: AnswerBody,
    /// Faults that have not happened yet.
    ahead: Arc<Mutex<Vec<Fault>>>,
    ledger: Arc<Mutex<Ledger>>,
    events: usize,
    under_way: VecDeque<(Millis, Bytes)>,
    ended: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Watching {
    pub(crate) fn new(
        gate: Gate,
        process: Process,
        call: Call,
        body: AnswerBody,
        ahead: Arc<Mutex<Vec<Fault>>>,
        ledger: Arc<Mutex<Ledger>>,
    ) -> Self {
        Self {
            gate,
            process,
            call,
            body,
            ahead,
            ledger,
            events: 0,
            under_way: VecDeque::new(),
            ended: false,
            timer: None,
        }
    }

    /// An event leaves the server.
    fn send(&mut self, line: &[u8]) {
        let now = self.gate.time().now();
        if !is_bookmark(line) {
            self.events += 1;
        }
        if self.is_swallowed() {
            let mut ledger = lock(&self.ledger);
            ledger.last_fault = now;
            ledger.note(
                now,
                "network",
                format!("event {} of {} is lost", self.events, self.call),
            );
            return;
        }
        let latency = self
            .gate
            .latency(now, &format!("{} {}", self.call.purpose(), self.events));
        let before = self.under_way.back().map_or(0, |(due, _)| *due);
        let due = (now.max(self.process.frozen_until()) + latency).max(before);
        let mut line = line.to_vec();
        line.push(b'\n');
        self.under_way.push_back((due, line.into()));
    }
}

impl Watching {
    fn is_swallowed(&self) -> bool {
        let mut ahead = lock(&self.ahead);
        let swallowed = ahead.iter().position(|fault| {
            matches!(fault, Fault::Swallowed { resource, event }
                if *resource == self.call.resource && *event == self.events)
        });
        swallowed.map(|index| ahead.remove(index)).is_some()
    }
}

fn is_bookmark(line: &[u8]) -> bool {
    let wanted = b"\"BOOKMARK\"";
    line.windows(wanted.len()).take(64).any(|window| window == wanted)
}

impl http_body::Body for Watching {
    type Data = Bytes;
    type Error = tower::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tower::BoxError>>> {
        if self.process.ended() {
            return Poll::Pending;
        }
        while !self.ended {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        for line in data.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                            self.send(line);
                        }
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => self.ended = true,
            }
        }
        loop {
            let Some((due, _)) = self.under_way.front() else {
                return if self.ended {
                    Poll::Ready(None)
                } else {
                    Poll::Pending
                };
            };
            let due = *due;
            if due <= self.gate.time().now() {
                self.timer = None;
                let frame = self.under_way.pop_front().map(|(_, line)| Ok(Frame::data(line)));
                return Poll::Ready(frame);
            }
            let time = self.gate.time().clone();
            let timer = self.timer.get_or_insert_with(|| Box::pin(time.timer(due)));
            ready!(timer.as_mut().poll(context));
            self.timer = None;
        }
    }
}
