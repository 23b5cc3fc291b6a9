//! [`Votes`]: what the Sentinels answer, and which primary follows from it. A state machine without a clock or
//! connections.

use std::fmt;

/// Host and port of a server, as a Sentinel names it.
pub(super) type Address = (String, u16);

/// The answers of one round, one for each Sentinel. More than half of the *configured* Sentinels must name the same
/// server, not just of those that answered: a Sentinel that is cut off together with an old primary is not a majority.
#[derive(Debug, Clone)]
pub(super) struct Votes {
    answers: Vec<Answer>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Awaited,
    Named(Address),
    /// The Sentinel knows no such primary, or cannot be asked.
    Nobody,
}

/// The outcome of a round so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision<'a> {
    /// The primary, whatever the remaining Sentinels answer.
    Primary(&'a Address),
    /// It depends on the remaining Sentinels.
    Open,
    /// No server can be named by more than half any more.
    None,
}

impl Votes {
    /// A round among this many Sentinels.
    pub(super) fn new(configured: usize) -> Self {
        Self { answers: vec![Answer::Awaited; configured] }
    }

    /// A Sentinel has answered. Only its first answer in a round counts.
    pub(super) fn add(&mut self, sentinel: usize, named: Option<Address>) {
        if let Some(answer @ Answer::Awaited) = self.answers.get_mut(sentinel) {
            *answer = named.map_or(Answer::Nobody, Answer::Named);
        }
    }

    pub(super) fn decision(&self) -> Decision<'_> {
        let half = self.answers.len() / 2;
        let votes =
            |address: &Address| self.answers.iter().filter(|answer| **answer == Answer::Named(address.clone())).count();
        let named = self.answers.iter().filter_map(|answer| match answer {
            Answer::Named(address) => Some((votes(address), address)),
            _ => None,
        });
        let best = named.max_by_key(|(votes, _)| *votes);
        let awaited = self.answers.iter().filter(|answer| **answer == Answer::Awaited).count();
        match best {
            Some((votes, address)) if votes > half => Decision::Primary(address),
            best if best.map_or(0, |(votes, _)| votes) + awaited > half => Decision::Open,
            _ => Decision::None,
        }
    }
}

/// Whether the primary in use has been replaced: most Sentinels name another one, in two rounds. After a planned
/// failover the old primary stays one until Sentinel makes it a replica, some 8 s later; servers that left it one by
/// one meanwhile would not reach each other.
#[derive(Debug)]
pub(super) struct Replacement {
    used: Address,
    /// The other primary that the last decided round named.
    candidate: Option<Address>,
}

impl Replacement {
    pub(super) fn new(used: Address) -> Self {
        Self { used, candidate: None }
    }

    /// Takes the outcome of a round. Returns the new primary if the one in use has been replaced.
    pub(super) fn after_round(&mut self, decision: Decision<'_>) -> Option<&Address> {
        match decision {
            Decision::Primary(address) if *address != self.used => {
                let again = self.candidate.replace(address.clone()).is_some_and(|before| before == *address);
                self.candidate.as_ref().filter(|_| again)
            }
            Decision::Primary(_) => {
                self.candidate = None;
                None
            }
            // Such a round neither confirms a replacement nor refutes it.
            Decision::Open | Decision::None => None,
        }
    }
}

/// An address for errors and the log.
pub(super) struct Shown<'a>(pub(super) &'a Address);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.0, self.0.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roomcast_adapter::testkit::Random;
    use std::collections::HashMap;

    fn address(number: u64) -> Address {
        (format!("10.0.0.{number}"), 6379)
    }

    /// The decision when all have answered, computed in another way than in [`Votes`].
    fn majority(answers: &[Option<Address>], configured: usize) -> Option<Address> {
        let mut count: HashMap<&Address, usize> = HashMap::new();
        for address in answers.iter().flatten() {
            *count.entry(address).or_default() += 1;
        }
        count.into_iter().find(|(_, votes)| votes * 2 > configured).map(|(address, _)| address.clone())
    }

    /// Sentinels answer in any order, some late, some not at all: an early decision is the one that all answers lead
    /// to, in every order.
    #[test]
    fn an_early_decision_is_that_of_all_answers() {
        for seed in 0..20_000 {
            let mut random = Random::new(seed);
            let configured = 1 + random.below(7) as usize;
            let servers = 1 + random.below(3);
            let answer = |random: &mut Random| {
                let number = random.below(servers + 2);
                (number < servers).then(|| address(number))
            };
            let answers: Vec<Option<Address>> = (0..configured).map(|_| answer(&mut random)).collect();
            let mut order: Vec<usize> = (0..configured).collect();
            for at in (1..configured).rev() {
                order.swap(at, random.below(at as u64 + 1) as usize);
            }
            let expected = majority(&answers, configured);
            let mut votes = Votes::new(configured);
            let mut given: Vec<Option<Address>> = Vec::new();
            for sentinel in order {
                votes.add(sentinel, answers[sentinel].clone());
                // A second answer in the same round changes nothing.
                votes.add(sentinel, answer(&mut random));
                given.push(answers[sentinel].clone());
                match votes.decision() {
                    Decision::Primary(named) => assert_eq!(Some(named), expected.as_ref(), "seed {seed}"),
                    Decision::None => assert_eq!(expected, None, "seed {seed}"),
                    Decision::Open => {
                        assert!(given.len() < configured, "seed {seed}: all have answered");
                        // Open means open: the rest could agree with some address, and could not.
                        assert_eq!(majority(&given, configured), None, "seed {seed}");
                    }
                }
            }
            // No Sentinel has this number.
            votes.add(configured, Some(address(9)));
            let Decision::Primary(named) = votes.decision() else {
                assert_eq!(expected, None, "seed {seed}");
                continue;
            };
            assert_eq!(Some(named), expected.as_ref(), "seed {seed}");
        }
    }

    #[test]
    fn a_majority_is_one_of_the_configured() {
        for (configured, votes, is_majority) in
            [(1, 1, true), (2, 1, false), (2, 2, true), (3, 1, false), (3, 2, true), (4, 2, false), (5, 3, true)]
        {
            let mut round = Votes::new(configured);
            for sentinel in 0..configured {
                round.add(sentinel, (sentinel < votes).then(|| address(1)));
            }
            let one = address(1);
            let expected = if is_majority { Decision::Primary(&one) } else { Decision::None };
            assert_eq!(round.decision(), expected, "{votes} of {configured}");
        }
        assert_eq!(Votes::new(0).decision(), Decision::None);
    }

    /// The server in use is replaced when two decided rounds in a row name the same other one.
    #[test]
    fn a_server_is_replaced_by_the_one_that_two_rounds_name() {
        for seed in 0..20_000 {
            let mut random = Random::new(seed);
            let mut replacement = Replacement::new(address(0));
            let mut decided: Vec<u64> = Vec::new();
            for _ in 0..random.below(12) {
                let number = random.below(5);
                let named = address(number);
                let decision = match number {
                    0..=2 => Decision::Primary(&named),
                    3 => Decision::Open,
                    _ => Decision::None,
                };
                if number <= 2 {
                    decided.push(number);
                }
                let expected = match (decision, &decided[..]) {
                    (Decision::Primary(_), [.., before, last]) => {
                        (before == last && *last != 0).then(|| address(*last))
                    }
                    _ => None,
                };
                assert_eq!(replacement.after_round(decision), expected.as_ref(), "seed {seed}: {decided:?}");
            }
        }
    }
}
