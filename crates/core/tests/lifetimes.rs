//! How long tokens and leases live over sequences of renewals, against a model that is too simple to be wrong.

use std::cell::Cell;

use holdfast_core::{Answer, Verb};
use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};

use crate::bench::{Bench, data};

/// The maximum of the mounts, in seconds.
const MOUNT_MAX: u64 = 6000;
const MOUNT_DEFAULT: u64 = 1500;

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    /// 0 is none.
    Renew(u64),
    /// To the last second of its life, or the first after it.
    ToTheEnd {
        before: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1u64..1800).prop_map(Step::Wait),
        4 => prop_oneof![Just(0), 1u64..8000, 1u64..60].prop_map(Step::Renew),
        1 => any::<bool>().prop_map(|before| Step::ToTheEnd { before }),
    ];
    prop::collection::vec(step, 1..14)
}

/// What the token is asked to be; 0 is not said.
#[derive(Clone, Debug)]
struct Wanted {
    ttl: u64,
    explicit_max: u64,
    period: u64,
}

fn wanted() -> impl Strategy<Value = Wanted> {
    let some = |most: u64| prop_oneof![1 => Just(0), 2 => 1..most];
    let period = prop_oneof![2 => Just(0), 1 => 1..8000u64];
    (some(8000), some(8000), period).prop_map(|(ttl, explicit_max, period)| Wanted { ttl, explicit_max, period })
}

struct Model {
    wanted: Wanted,
    /// TTL that it was given at first.
    first: u64,
    now: u64,
    ends: u64,
}

impl Model {
    /// By the rule: a period is given anew for ever, within the mount's maximum; anything else ends with the mount's maximum
    /// after the beginning; the explicit maximum ends both.
    fn ttl(wanted: &Wanted, asked: u64, age: u64) -> Option<u64> {
        let explicit = (wanted.explicit_max > 0).then_some(wanted.explicit_max);
        let left = |max: u64| max.checked_sub(age).filter(|left| *left > 0);
        let ttl = match wanted.period {
            0 => (if asked > 0 { asked } else { MOUNT_DEFAULT }).min(left(MOUNT_MAX)?),
            period => period.min(MOUNT_MAX),
        };
        match explicit {
            Some(max) => Some(ttl.min(left(max)?)),
            None => Some(ttl),
        }
    }

    fn alive(&self) -> bool {
        self.now < self.ends
    }
}

#[test]
fn cve_2021_32923_no_sequence_of_renewals_takes_a_token_past_its_limits() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (renewals, ended) = (Cell::new(0), Cell::new(0));
    let mut runner = TestRunner::new(ProptestConfig::with_cases(200));
    let bench = runtime.block_on(async {
        let bench = Bench::open().await;
        let tuned = json!({"default_lease_ttl": MOUNT_DEFAULT, "max_lease_ttl": MOUNT_MAX});
        bench.write("sys/auth/token/tune", tuned).await;
        bench
    });
    let outcome = runner.run(&(wanted(), steps()), |(wanted, steps)| {
        runtime.block_on(async {
            let mut body = json!({"policies": ["default"]});
            for (name, seconds) in
                [("ttl", wanted.ttl), ("explicit_max_ttl", wanted.explicit_max), ("period", wanted.period)]
            {
                if seconds > 0 {
                    body[name] = json!(seconds);
                }
            }
            let made = bench.write("auth/token/create", body).await.auth.unwrap();
            let first = Model::ttl(&wanted, wanted.ttl, 0).unwrap();
            assert_eq!(made.lease_duration, first, "{wanted:?}");
            let mut model = Model { wanted, first, now: 0, ends: first };
            for step in steps {
                match step {
                    Step::Wait(seconds) => {
                        bench.advance(seconds);
                        model.now += seconds;
                    }
                    Step::ToTheEnd { before } => {
                        let seconds = (model.ends + u64::from(!before)).saturating_sub(model.now + 1);
                        bench.advance(seconds);
                        model.now += seconds;
                    }
                    Step::Renew(increment) => {
                        let body = if increment > 0 { json!({ "increment": increment }) } else { json!({}) };
                        let answer = bench.answer(&made.client_token, Verb::Write, "auth/token/renew-self", body).await;
                        let asked = if increment > 0 { increment } else { model.first };
                        match Model::ttl(&model.wanted, asked, model.now).filter(|_| model.alive()) {
                            Some(ttl) => {
                                let Answer::Envelope { envelope, .. } = answer else {
                                    panic!("{:?}: {answer:?}", model.wanted)
                                };
                                assert_eq!(
                                    envelope.auth.unwrap().lease_duration,
                                    ttl,
                                    "{:?} at {}",
                                    model.wanted,
                                    model.now
                                );
                                model.ends = model.now + ttl;
                                renewals.set(renewals.get() + 1);
                            }
                            None => assert!(matches!(answer, Answer::Error(_)), "{:?}: {answer:?}", model.wanted),
                        }
                    }
                }
                assert_eq!(
                    bench.is_good(&made.client_token).await,
                    model.alive(),
                    "{:?} at {}",
                    model.wanted,
                    model.now
                );
                if model.wanted.explicit_max > 0 {
                    assert!(model.ends <= model.wanted.explicit_max);
                }
                if model.alive() {
                    let looked = bench.ok(&made.client_token, Verb::Read, "auth/token/lookup-self", json!({})).await;
                    assert_eq!(data(looked)["ttl"], json!(model.ends - model.now));
                }
            }
            ended.set(ended.get() + u32::from(!model.alive()));
        });
        Ok(())
    });
    outcome.unwrap();
    assert!(renewals.get() > 100 && ended.get() > 20, "too little was tried: {renewals:?} {ended:?}");
}

#[test]
fn cve_2021_32923_no_sequence_of_renewals_takes_a_lease_past_its_limits() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bench = runtime.block_on(async {
        let bench = Bench::open().await;
        let config = json!({"default_lease_ttl": MOUNT_DEFAULT, "max_lease_ttl": MOUNT_MAX});
        bench.write("sys/mounts/probe", json!({"type": "probe", "config": config})).await;
        bench
    });
    let renewals = Cell::new(0);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(150));
    let outcome = runner.run(&steps(), |steps| {
        runtime.block_on(async {
            let made = bench.ok(&bench.root, Verb::Read, "probe/creds/a", json!({})).await;
            let (mut now, mut ends) = (0u64, made.lease_duration);
            assert_eq!(ends, 600, "what the engine gives");
            for step in steps {
                match step {
                    Step::Wait(seconds) => {
                        bench.advance(seconds);
                        now += seconds;
                    }
                    Step::ToTheEnd { before } => {
                        let seconds = (ends + u64::from(!before)).saturating_sub(now + 1);
                        bench.advance(seconds);
                        now += seconds;
                    }
                    Step::Renew(increment) => {
                        let body = json!({ "lease_id": made.lease_id, "increment": increment });
                        let answer = bench.answer(&bench.root, Verb::Write, "sys/leases/renew", body).await;
                        let asked = if increment > 0 { increment } else { MOUNT_DEFAULT };
                        match MOUNT_MAX.checked_sub(now).filter(|left| *left > 0 && now < ends) {
                            Some(left) => {
                                let Answer::Envelope { envelope, .. } = answer else {
                                    panic!("at {now} of {ends}: {answer:?}")
                                };
                                assert_eq!(envelope.lease_duration, asked.min(left), "at {now}");
                                ends = now + asked.min(left);
                                renewals.set(renewals.get() + 1);
                            }
                            None => assert!(matches!(answer, Answer::Error(_)), "at {now} of {ends}: {answer:?}"),
                        }
                    }
                }
                let looked = bench
                    .answer(&bench.root, Verb::Write, "sys/leases/lookup", json!({ "lease_id": made.lease_id }))
                    .await;
                if now < ends {
                    let Answer::Envelope { envelope, .. } = looked else { panic!("at {now} of {ends}: {looked:?}") };
                    assert_eq!(data(*envelope)["ttl"].as_u64(), Some(ends - now));
                }
            }
            let revoke: Value = json!({ "lease_id": made.lease_id, "sync": true });
            let _ = bench.answer(&bench.root, Verb::Write, "sys/leases/revoke", revoke).await;
        });
        Ok(())
    });
    outcome.unwrap();
    assert!(renewals.get() > 100, "too little was tried: {renewals:?}");
}
