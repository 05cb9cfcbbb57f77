//! An operation's record, as small as a state of the model should be, to and from the agents' own.

use std::collections::BTreeMap;

use terreau::model::{Placement, ProjectName, SecretName, Uid, sha256_hex};
use terreau::operation::machine::VERDICT;
use terreau::store::records::{
    After, Alphabet, By, Cancel, Direction, First, OpRecord, Step, StepSpec, StepState, Verb,
};

/// A secret and an account, made before the job; the job; the wait for it.
pub const STEPS: usize = 4;
/// The step that cannot be taken back.
pub const REGISTER: usize = 2;
/// The step without an effect of its own.
pub const SETTLE: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    Todo,
    Begun,
    Done,
    Undone,
}

/// What is kept of a record: the rest never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Record {
    pub backward: bool,
    pub turned: bool,
    pub cancel: bool,
    pub claim: u8,
    pub steps: [State; STEPS],
    /// Steps that an engine has refused, by bits.
    pub refused: u8,
    pub failed: bool,
}

impl Record {
    pub fn first() -> Self {
        let mut steps = [State::Todo; STEPS];
        steps[0] = State::Begun;
        Self { backward: false, turned: false, cancel: false, claim: 0, steps, refused: 0, failed: false }
    }

    /// As agents have it.
    pub fn whole(&self) -> OpRecord {
        let (uid, by) = (uid(), By { login: "a".into(), address: "b".into() });
        let steps = specs().into_iter().zip(self.steps).enumerate();
        let steps = steps.map(|(n, (spec, state))| {
            let mut evidence = BTreeMap::new();
            if self.refused & (1 << n) != 0 {
                evidence.insert("refused".to_owned(), "no".to_owned());
            }
            if n == SETTLE && self.failed {
                evidence.insert(VERDICT.to_owned(), "failed".to_owned());
            }
            let state = match state {
                State::Todo => StepState::Todo,
                State::Begun => StepState::Begun,
                State::Done => StepState::Done,
                State::Undone => StepState::Undone,
            };
            Step { spec, state, evidence }
        });
        OpRecord {
            v: 1,
            id: uid.clone(),
            app: Placement::production(ProjectName::new("carnet").unwrap()),
            uid: uid.clone(),
            verb: Verb::Deploy,
            by: by.clone(),
            at: String::new(),
            plan: sha256_hex(""),
            direction: if self.backward { Direction::Backward } else { Direction::Forward },
            turned: self.turned.then(|| "turned".to_owned()),
            cancel: self.cancel.then(|| Cancel { by, at: String::new(), abandon: false }),
            claim: u64::from(self.claim),
            agent: uid,
            steps: steps.collect(),
            after: After::default(),
        }
    }

    pub fn of(whole: &OpRecord) -> Self {
        let mut steps = [State::Todo; STEPS];
        let mut refused = 0;
        for (n, step) in whole.steps.iter().enumerate() {
            steps[n] = match step.state {
                StepState::Todo => State::Todo,
                StepState::Begun => State::Begun,
                StepState::Done => State::Done,
                StepState::Undone => State::Undone,
            };
            refused |= u8::from(step.evidence.contains_key("refused")) << n;
        }
        Self {
            backward: whole.direction == Direction::Backward,
            turned: whole.turned.is_some(),
            cancel: whole.cancel.is_some(),
            claim: u8::try_from(whole.claim).unwrap(),
            steps,
            refused,
            failed: whole.steps[SETTLE].evidence.get(VERDICT).is_some_and(|v| v == "failed"),
        }
    }
}

pub fn somebodys() -> Cancel {
    Cancel { by: By { login: "a".into(), address: "b".into() }, at: String::new(), abandon: false }
}

fn uid() -> Uid {
    Uid::new("01hzzzzzzzzzzzzzzzzzzzzzzz").unwrap()
}

fn specs() -> [StepSpec; STEPS] {
    let secret = |name: &str| StepSpec::SecretGenerate {
        name: SecretName::new(name).unwrap(),
        version: 1,
        length: 32,
        alphabet: Alphabet::Hex,
    };
    [
        secret("a"),
        secret("b"),
        StepSpec::JobRegister {
            namespace: "default".into(),
            id: "carnet".into(),
            json: sha256_hex(""),
            hcl: sha256_hex(""),
            enforce: 0,
            spec_hash: sha256_hex(""),
        },
        StepSpec::JobSettle {
            namespace: "default".into(),
            id: "carnet".into(),
            first: First::Yes,
            counts: BTreeMap::new(),
        },
    ]
}
