//! What is committed, executed by an application that does nothing: sessions, replies and the history.

use quorate_apps::null::Null;
use quorate_protocol::executor::Executor;
use quorate_protocol::request::Body;
use quorate_protocol::types::Seq;

use crate::made;
use crate::table::{Bench, Each};

pub(crate) fn measure(bench: &mut Bench) {
    let context = made::context(4);
    let registrations = Body::new(made::registrations(&context), context.cluster);
    for (name, requests, operations) in [
        ("one request", 1, 1),
        ("512 requests of one operation", 512, 1),
        ("8 bundles of 64 operations", 8, 64),
    ] {
        let body = Body::new(made::batch(&context, 1, requests, operations), context.cluster);
        bench.measure(
            &format!("execute: {name}"),
            Each(body.batch.operations(), "operation"),
            || {
                let mut executor = Executor::new(context.clone(), Box::new(Null::new(16)));
                executor.execute(Seq(1), Some(&registrations));
                executor
            },
            |mut executor| {
                let executed = executor.execute(Seq(2), Some(&body));
                assert_eq!(executed.fresh, body.batch.operations());
                (executor, executed)
            },
        );
    }
}
