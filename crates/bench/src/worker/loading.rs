//! Clients on a thread of their own, so that what they cost can be told from what measuring costs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::WorkerError;
use super::usage::{LOAD_THREAD, ProcessTime};
use crate::load::{Live, Load, LoadConfig, LoadError, LoadReport, Peek, Stint};

/// Questions that may wait for the thread; there is one asker.
const QUESTIONS_MAX: usize = 4;
/// How long clients may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the thread is asked.
enum Question {
    Begin(Stint, oneshot::Sender<Result<(), WorkerError>>),
    Peek(oneshot::Sender<Peek>),
    GiveUp(oneshot::Sender<()>),
    Finish(oneshot::Sender<Result<Option<LoadReport>, WorkerError>>),
    Stop(oneshot::Sender<()>),
}

/// Clients that are connected, each machine's on one thread. A machine with more processors than that thread needs may
/// run several agents.
pub(super) struct Loading {
    questions: mpsc::Sender<Question>,
}

impl Loading {
    /// Connects clients on a new thread, and waits until each has a session.
    pub(super) async fn connect(config: LoadConfig, patience: Duration) -> Result<Self, WorkerError> {
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        let (ready, connected) = oneshot::channel();
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                match Load::connect(config, patience).await {
                    Ok(load) => {
                        drop(ready.send(Ok(())));
                        Clients { state: State::Idle(Box::new(load)) }.serve(asked).await;
                    }
                    Err(error) => drop(ready.send(Err::<(), LoadError>(error))),
                }
            });
        };
        let spawned = std::thread::Builder::new().name(LOAD_THREAD.to_owned()).spawn(work);
        drop(spawned.map_err(|_| WorkerError::LoadGone)?);
        connected.await.map_err(|_| WorkerError::LoadGone)??;
        Ok(Self { questions })
    }

    /// What the threads of load that run take of the processors.
    pub(super) fn time() -> ProcessTime {
        ProcessTime::of_own_threads(LOAD_THREAD)
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Result<T, WorkerError> {
        let (answer, wait) = oneshot::channel();
        self.questions.send(question(answer)).await.map_err(|_| WorkerError::LoadGone)?;
        wait.await.map_err(|_| WorkerError::LoadGone)
    }

    pub(super) async fn begin(&self, stint: Stint) -> Result<(), WorkerError> {
        self.ask(|answer| Question::Begin(stint, answer)).await?
    }

    pub(super) async fn peek(&self) -> Result<Peek, WorkerError> {
        self.ask(Question::Peek).await
    }

    pub(super) async fn give_up(&self) -> Result<(), WorkerError> {
        self.ask(Question::GiveUp).await
    }

    pub(super) async fn finish(&self) -> Result<Option<LoadReport>, WorkerError> {
        self.ask(Question::Finish).await?
    }

    pub(super) async fn stop(self) {
        // Whoever does not say goodbye in time is gone without it.
        drop(tokio::time::timeout(FAREWELL, self.ask(Question::Stop)).await);
    }
}

/// What the thread has.
struct Clients {
    state: State,
}

enum State {
    Idle(Box<Load>),
    Running(Arc<Live>, JoinHandle<(Load, LoadReport)>),
    /// Somebody's failure took them along.
    Gone,
}

impl Clients {
    async fn serve(mut self, mut asked: mpsc::Receiver<Question>) {
        while let Some(question) = asked.recv().await {
            match question {
                Question::Begin(stint, answer) => drop(answer.send(self.begin(stint).await)),
                Question::Peek(answer) => drop(answer.send(self.peek())),
                Question::GiveUp(answer) => {
                    if let State::Running(live, _) = &self.state {
                        live.give_up();
                    }
                    // Whoever asked may be gone.
                    let _ = answer.send(());
                }
                Question::Finish(answer) => drop(answer.send(self.finish().await)),
                Question::Stop(answer) => {
                    self.close().await;
                    // Whoever asked may be gone.
                    let _ = answer.send(());
                    return;
                }
            }
        }
    }

    async fn begin(&mut self, stint: Stint) -> Result<(), WorkerError> {
        match std::mem::replace(&mut self.state, State::Gone) {
            State::Idle(load) => {
                let live = load.live();
                let running = load.begin(stint.warm_up(), stint.measure(), stint.rate).await;
                self.state = State::Running(live, tokio::spawn(running.stop()));
                Ok(())
            }
            running @ State::Running(..) => {
                self.state = running;
                Err(WorkerError::Senseless("the load runs already; finish it first"))
            }
            State::Gone => Err(WorkerError::LoadGone),
        }
    }

    fn peek(&self) -> Peek {
        match &self.state {
            State::Running(live, task) => live.peek(task.is_finished()),
            State::Idle(load) => load.live().peek(true),
            State::Gone => Peek::default(),
        }
    }

    async fn finish(&mut self) -> Result<Option<LoadReport>, WorkerError> {
        match std::mem::replace(&mut self.state, State::Gone) {
            State::Running(live, task) if !task.is_finished() => {
                self.state = State::Running(live, task);
                Ok(None)
            }
            State::Running(_, task) => {
                let (load, report) = task.await.map_err(|_| WorkerError::LoadGone)?;
                self.state = State::Idle(Box::new(load));
                Ok(Some(report))
            }
            idle @ State::Idle(_) => {
                self.state = idle;
                Err(WorkerError::Senseless("no load was begun"))
            }
            State::Gone => Err(WorkerError::LoadGone),
        }
    }

    async fn close(&mut self) {
        match std::mem::replace(&mut self.state, State::Gone) {
            State::Idle(load) => load.close().await,
            State::Running(live, task) => {
                live.give_up();
                if let Ok((load, _)) = task.await {
                    load.close().await;
                }
            }
            State::Gone => {}
        }
    }
}
