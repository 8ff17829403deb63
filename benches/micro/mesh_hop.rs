//! What does it cost to ask another core, one operation at a time and many together?
//!
//! Two executors on threads of their own; the first asks, the second answers.
//! An operation here is a whole round trip; with 64 to a parcel they share one.

use std::{
    rc::Rc,
    sync::mpsc,
    time::{Duration, Instant},
};

use glommio::{LocalExecutorBuilder, Placement};
use oxdaas::{
    id::{CoreId, Id},
    mesh::{Alarm, Answer, Ask, Builder, Call, Mesh},
    op::{Durability, Op, Outcome},
};

use crate::meter::Meter;

const ROUNDS: u32 = 200;

pub fn run(meter: &Meter) {
    hop(meter, "mesh hop: one call a parcel", 1);
    hop(meter, "mesh hop: 64 calls a parcel", 64);
}

fn hop(meter: &Meter, name: &str, batch: u32) {
    meter.sample(name, ROUNDS * batch, || {
        let builder = Mesh::builder(2, 64).expect("descriptors are free");
        let (report, reported) = mpsc::channel();
        let executors = [CoreId(0), CoreId(1)].map(|core| {
            let (builder, report) = (builder.clone(), report.clone());
            LocalExecutorBuilder::new(Placement::Unbound)
                .io_memory(1 << 20)
                .spawn(move || async move {
                    match core {
                        CoreId(0) => {
                            let took = ask(builder, batch).await;
                            report.send(took).expect("the bench waits");
                        }
                        _ => answer(builder, batch).await,
                    }
                })
                .expect("an executor starts")
        });
        let took = reported.recv().expect("the asking core reports");
        for executor in executors {
            executor.join().expect("an executor ends in peace");
        }
        took
    });
}

/// Asks `batch` operations at a time and waits for their answers; how long all rounds took.
async fn ask(builder: Builder, batch: u32) -> Duration {
    let (mut mesh, alarm) = join(builder, CoreId(0)).await;
    let mut inbox = Vec::new();
    let began = Instant::now();
    for _ in 0..ROUNDS {
        for call in 0..batch {
            let op = Op::Get {
                id: Id::Integer(call.into()),
            };
            mesh.to(CoreId(1)).calls.push(Call {
                id: call,
                connection: 0,
                is_light: true,
                ask: Ask::Run(op, Durability::AsConfigured),
            });
        }
        mesh.flush();
        let mut answered = 0;
        while answered < batch {
            alarm.wait().await;
            mesh.take_inbox(&mut inbox);
            for (_, parcel) in inbox.drain(..) {
                answered += u32::try_from(parcel.replies.len()).expect("as many as were asked");
            }
        }
    }
    began.elapsed()
}

/// Answers every call of all rounds.
async fn answer(builder: Builder, batch: u32) {
    let (mut mesh, alarm) = join(builder, CoreId(1)).await;
    let mut inbox = Vec::new();
    let mut left = ROUNDS * batch;
    while left > 0 {
        alarm.wait().await;
        mesh.take_inbox(&mut inbox);
        for (from, parcel) in inbox.drain(..) {
            for Call { id: call, .. } in parcel.calls {
                let answer = Answer::Outcome(Outcome::Missing);
                mesh.to(from).replies.push((call, answer));
                left -= 1;
            }
        }
        mesh.flush();
    }
}

async fn join(builder: Builder, core: CoreId) -> (Mesh, Rc<Alarm>) {
    let alarm = Rc::new(Alarm::default());
    let mesh = Mesh::join(builder, core, Rc::clone(&alarm)).await;
    (mesh, alarm)
}
