//! Requests with large bodies: few of them work at once, and none holds another up while it waits.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use coracle_api::Status;
use tokio::sync::Semaphore;

/// How many work at once.
const AT_ONCE: usize = 2;
/// How many there may be, those included that wait for a webhook or for the disk: each holds its body
/// and a thread. Others are not begun.
const BEGUN: usize = 16;

/// Which of them works next.
#[derive(Clone)]
pub(crate) struct LargeBodies {
    working: Arc<Semaphore>,
    begun: Arc<Semaphore>,
}

impl Default for LargeBodies {
    fn default() -> Self {
        Self { working: Arc::new(Semaphore::new(AT_ONCE)), begun: Arc::new(Semaphore::new(BEGUN)) }
    }
}

impl LargeBodies {
    /// Carries `work` out beside the threads that serve everybody.
    ///
    /// # Errors
    /// 500 when it broke off.
    pub async fn carry_out<W>(&self, work: W) -> Result<W::Output, Status>
    where
        W: Future<Output: Send> + Send + 'static,
    {
        let begun = Arc::clone(&self.begun).acquire_owned().await.map_err(Status::internal)?;
        let (working, runtime) = (Arc::clone(&self.working), tokio::runtime::Handle::current());
        let done = tokio::task::spawn_blocking(move || {
            let _begun = begun;
            runtime.block_on(in_turns(&working, work))
        });
        done.await.map_err(Status::internal)?.map_err(Status::internal)
    }
}

/// `work`, which has a turn while it goes on and none while it waits.
async fn in_turns<W: Future>(
    working: &Semaphore,
    work: W,
) -> Result<W::Output, tokio::sync::AcquireError> {
    let mut work = pin!(work);
    loop {
        let turn = working.acquire().await?;
        let step = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        drop(turn);
        match step {
            Poll::Ready(output) => return Ok(output),
            Poll::Pending => woken().await,
        }
    }
}

/// Until whoever was asked last has an answer: it wakes the task that asked.
async fn woken() {
    let mut asked = false;
    poll_fn(|_| match std::mem::replace(&mut asked, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn who_waits_for_an_answer_holds_nobody_up() {
        let large = LargeBodies::default();
        let mut hanging = Vec::new();
        let mut answers = Vec::new();
        for _ in 0..AT_ONCE + 1 {
            let (answer, answered) = oneshot::channel::<u8>();
            let large = large.clone();
            answers.push(answer);
            hanging.push(tokio::spawn(async move { large.carry_out(answered).await }));
        }
        tokio::task::yield_now().await;
        assert_eq!(large.carry_out(async { 7 }).await.unwrap(), 7);
        for (number, answer) in (0..).zip(answers) {
            answer.send(number).unwrap();
        }
        for (number, hanging) in (0..).zip(hanging) {
            assert_eq!(hanging.await.unwrap().unwrap(), Ok(number));
        }
    }
}
